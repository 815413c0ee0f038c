// A small window of its own for whoever matters most, while one works elsewhere.

/** Picture in picture that follows the stage. */
export class PictureInPicture {
  #video = document.createElement('video');

  constructor() {
    this.#video.muted = true;
    this.#video.playsInline = true;
  }

  get isOpen() {
    return document.pictureInPictureElement === this.#video;
  }

  /** @param {MediaStreamTrack | null} track */
  follow(track) {
    const shown =
      this.#video.srcObject instanceof MediaStream ? this.#video.srcObject.getVideoTracks()[0] : null;
    // With nobody in the picture the last one stays: an empty window would close.
    if (!track || track === shown) return;
    this.#video.srcObject = new MediaStream([track]);
    this.#video.play().catch(() => {});
  }

  /** @param {MediaStreamTrack | null} track */
  async toggle(track) {
    if (this.isOpen) {
      await document.exitPictureInPicture();
      return;
    }
    if (!track) return;
    this.follow(track);
    if (this.#video.readyState < HTMLMediaElement.HAVE_METADATA) {
      await new Promise(resolve => {
        this.#video.addEventListener('loadedmetadata', resolve, { once: true });
      });
    }
    await this.#video.requestPictureInPicture();
  }

  close() {
    if (this.isOpen) document.exitPictureInPicture().catch(() => {});
    this.#video.srcObject = null;
  }
}
