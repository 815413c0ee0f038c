// The page for those who send: /publish/{room}, with this browser or with another program.

import { captureScreen, LocalMedia } from '../media.js';
import { HttpError } from '../session.js';
import { strings } from '../strings.js';
import { WhipPublisher } from '../whip.js';
import { addressOf, placeOfPath, tokenOfPage } from './address.js';
import { devicePicker, deviceProblems, levelBar } from './devices.js';
import { h, icon, newId } from './dom.js';
import { wordmark } from './home.js';
import { roomName } from './names.js';
import { mountNotices, note } from './notices.js';
import { prefs } from './prefs.js';
import { embedCode, ffmpegCommand, gstreamerCommand } from './snippets.js';

const text = strings.publish;

/** Camera or screen, a button, and what others need to watch or send. */
class PublishPage {
  #room;
  #media = new LocalMedia();
  /** @type {MediaStream | null} */
  #screen = null;
  /** @type {'camera' | 'screen'} */
  #source = 'camera';
  /** @type {WhipPublisher | null} */
  #publisher = null;
  #video = h('video', { muted: true, autoplay: true, playsInline: true, class: 'preview-video' });
  #placeholder = h('p', { class: 'preview-placeholder' });
  #live = h('span', { class: 'live-badge', hidden: true }, strings.watch.live);
  #status = h('p', { class: 'publish-status', role: 'status' });
  #problem = h('div', { class: 'problem', role: 'alert', hidden: true });
  #button = h('button', { type: 'button', class: 'primary wide', onclick: () => this.#toggle() }, text.start);
  #sources = h('fieldset', { class: 'modes' }, h('legend', { class: 'field-label' }, text.source));
  #name;
  #snippets = h('div', { class: 'snippets' });

  /** @param {string} room */
  constructor(room) {
    this.#room = room;
    const id = newId();
    const given = new URLSearchParams(location.search).get('as') ?? '';
    this.#name = h('input', {
      id,
      class: 'field-input',
      value: given,
      maxLength: 64,
      autocomplete: 'off',
      'aria-describedby': `${id}-hint`,
      oninput: () => this.#drawSnippets(),
    });
    this.#sources.append(
      this.#option('camera', 'camera', text.camera),
      this.#option('screen', 'screen', text.screen),
    );
    this.element = h(
      'main',
      { class: 'publish' },
      h('header', { class: 'page-header' }, wordmark()),
      h(
        'div',
        { class: 'publish-body' },
        this.#previewPart(),
        h(
          'section',
          { class: 'publish-form' },
          h('p', { class: 'eyebrow' }, text.heading),
          h('h1', { class: 'room-name' }, room),
          this.#sources,
          h('label', { for: id, class: 'field-label' }, text.name),
          this.#name,
          h('p', { id: `${id}-hint`, class: 'hint' }, text.nameHint),
          this.#problem,
          this.#button,
          this.#status,
        ),
        this.#snippets,
      ),
    );
    this.#media.addEventListener('change', () => this.#devicesChanged());
    addEventListener('pagehide', () => this.#publisher?.stop());
    this.#drawSnippets();
    this.#draw();
    this.#startDevices();
  }

  #previewPart() {
    const media = this.#media;
    return h(
      'section',
      { class: 'lobby-preview' },
      h('div', { class: 'preview' }, this.#video, this.#placeholder, this.#live),
      levelBar(media),
      h(
        'div',
        { class: 'pickers' },
        devicePicker(media, 'audioinput', device => media.start('audio', device)),
        devicePicker(media, 'videoinput', device => media.start('video', device)),
      ),
    );
  }

  /**
   * @param {'camera' | 'screen'} source
   * @param {string} name of the icon
   * @param {string} label
   */
  #option(source, name, label) {
    const onchange = () => {
      this.#source = source;
      this.#startDevices();
      this.#draw();
    };
    const radio = h('input', { type: 'radio', name: 'source', checked: source === this.#source, onchange });
    return h('label', { class: 'mode' }, radio, icon(name), h('span', {}, label));
  }

  async #startDevices() {
    const media = this.#media;
    if (this.#source === 'screen') media.stop('video');
    else if (!media.tracks.video) await media.start('video', prefs.cameraId);
    if (!media.tracks.audio) await media.start('audio', prefs.microphoneId);
  }

  /** Another device was chosen, or one is gone: what is live goes on with what there is. */
  #devicesChanged() {
    const { audio, video } = this.#media.tracks;
    for (const track of [audio, this.#source === 'camera' ? video : null]) {
      if (track) this.#publisher?.replace(track).catch(() => {});
    }
    this.#draw();
  }

  async #toggle() {
    if (this.#publisher) {
      this.#stop();
      return;
    }
    this.#button.disabled = true;
    this.#showProblem(null);
    try {
      await this.#start();
    } catch (error) {
      this.#stop();
      this.#showProblem(error);
    }
    this.#button.disabled = false;
    this.#draw();
  }

  async #start() {
    const stream = await this.#stream();
    if (!stream) return;
    const publisher = new WhipPublisher(this.#whip, { token: tokenOfPage() });
    this.#publisher = publisher;
    publisher.addEventListener('state', () => publisher === this.#publisher && this.#draw());
    publisher.addEventListener('error', event => {
      if (publisher !== this.#publisher) return;
      this.#stop();
      this.#showProblem(/** @type {CustomEvent} */ (event).detail);
    });
    await publisher.publish(stream);
  }

  /** What is to be sent; null if the person changed their mind. */
  async #stream() {
    const { audio, video } = this.#media.tracks;
    if (this.#source === 'camera') return new MediaStream([audio, video].filter(track => track !== null));
    this.#screen = await captureScreen();
    const [picture] = this.#screen?.getVideoTracks() ?? [];
    if (!picture) return null;
    // The browser's own button for it ends the track.
    picture.addEventListener('ended', () => this.#stop());
    // Whoever shows a screen speaks about it: the microphone comes before the screen's own sound.
    const sound = audio ?? this.#screen?.getAudioTracks()[0];
    return new MediaStream(sound ? [sound, picture] : [picture]);
  }

  #stop() {
    this.#publisher?.stop();
    this.#publisher = null;
    for (const track of this.#screen?.getTracks() ?? []) track.stop();
    this.#screen = null;
    this.#draw();
  }

  #draw() {
    const { tracks } = this.#media;
    const isCamera = this.#source === 'camera';
    const shown = isCamera ? tracks.video : (this.#screen?.getVideoTracks()[0] ?? null);
    const before = this.#video.srcObject instanceof MediaStream ? this.#video.srcObject.getTracks()[0] : null;
    if (before !== shown) this.#video.srcObject = shown ? new MediaStream([shown]) : null;
    this.#video.hidden = shown === null;
    this.#video.classList.toggle('is-whole', !isCamera);
    this.#placeholder.hidden = shown !== null;
    this.#placeholder.textContent = isCamera ? strings.lobby.cameraOff : text.chooseScreen;
    const state = this.#publisher?.state ?? 'closed';
    this.#live.hidden = state !== 'connected';
    const sentences = new Map([
      ['connected', text.live],
      ['connecting', text.starting],
      ['reconnecting', text.reconnecting],
    ]);
    this.#status.textContent = sentences.get(state) ?? '';
    this.#button.textContent = this.#publisher ? text.stop : text.start;
    this.#button.classList.toggle('is-danger', this.#publisher !== null);
    this.#sources.disabled = this.#publisher !== null;
    this.#name.disabled = this.#publisher !== null;
    const problems = isCamera ? deviceProblems(this.#media) : [];
    if (problems.length > 0) this.#showSentences(problems);
  }

  /** @param {unknown} error null if there is none */
  #showProblem(error) {
    if (error === null) this.#showSentences([]);
    else if (!(error instanceof HttpError)) this.#showSentences([strings.failed.unreachable]);
    else if (error.status === 409) this.#showSentences([text.taken]);
    else
      this.#showSentences([error.isTemporary ? strings.failed.full : strings.failed.refused(error.message)]);
  }

  /** @param {string[]} sentences */
  #showSentences(sentences) {
    this.#problem.hidden = sentences.length === 0;
    this.#problem.replaceChildren(...sentences.map(sentence => h('p', {}, sentence)));
  }

  get #participant() {
    return roomName(this.#name.value);
  }

  get #whip() {
    return addressOf('whip', this.#room, this.#participant);
  }

  #drawSnippets() {
    const token = tokenOfPage();
    const target = { whip: this.#whip, ...(token && { token }) };
    const watch = addressOf('watch', this.#room, this.#participant);
    this.#snippets.replaceChildren(
      group(text.share, null, snippet(text.link, watch), snippet(text.embed, embedCode(watch))),
      group(
        text.encoders,
        text.encodersHint,
        h('h3', {}, text.obs),
        h('p', { class: 'hint' }, text.obsHint),
        snippet(text.obsServer, target.whip),
        token
          ? snippet(text.obsToken, token)
          : h('p', { class: 'hint' }, `${text.obsToken}: ${text.obsNoToken}`),
        snippet(text.ffmpeg, ffmpegCommand(target)),
        snippet(text.gstreamer, gstreamerCommand(target)),
      ),
    );
  }
}

/**
 * @param {string} heading
 * @param {string | null} hint
 * @param {...Node} children
 */
const group = (heading, hint, ...children) =>
  h('section', {}, h('h2', {}, heading), hint !== null && h('p', { class: 'hint' }, hint), ...children);

/**
 * Something to copy.
 *
 * @param {string} label
 * @param {string} content
 */
function snippet(label, content) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(content);
      note(text.copied);
    } catch {
      note(text.copyFailed);
    }
  };
  const button = h(
    'button',
    { type: 'button', class: 'icon-button', 'aria-label': text.copy(label), onclick: copy },
    icon('copy'),
  );
  const code = h(
    'pre',
    { tabIndex: 0, dir: 'ltr', role: 'region', 'aria-label': label },
    h('code', {}, content),
  );
  return h(
    'div',
    { class: 'snippet' },
    h('p', { class: 'field-label' }, label),
    h('div', { class: 'snippet-box' }, code, button),
  );
}

const place = placeOfPath(location.pathname);
const app = document.getElementById('app');
mountNotices();
if (place) {
  document.title = text.title(place.room);
  app?.replaceChildren(new PublishPage(place.room).element);
} else {
  app?.replaceChildren(h('main', { class: 'over' }, h('p', { class: 'problem' }, strings.home.invalid)));
}
