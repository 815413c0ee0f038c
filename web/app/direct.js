// The page of direct calls: /direct/{room}. Two who open it see and hear each other, and the server
// carries nothing but their messages.

import { DirectCall } from '../direct.js';
import { Room } from '../room.js';
import { strings } from '../strings.js';
import { placeOfPath, tokenOfPage } from './address.js';
import { h } from './dom.js';

const text = strings.direct;

/** A direct call with its two pictures. */
class DirectPage {
  #video = h('video', { playsInline: true, autoplay: true, class: 'watch-video', 'aria-label': text.other });
  #own = h('video', {
    playsInline: true,
    autoplay: true,
    muted: true,
    class: 'direct-own',
    'aria-label': text.own,
  });
  #status = h('p', { role: 'status' }, text.starting);
  #end = h('button', { type: 'button', hidden: true, onclick: () => this.#hangUp() }, text.hangUp);
  /** @type {Room | null} */
  #room = null;
  /** @type {DirectCall | null} */
  #call = null;
  /** @type {MediaStream | null} */
  #local = null;

  constructor() {
    this.element = h(
      'main',
      { class: 'watch' },
      this.#video,
      h('div', { class: 'direct-bar' }, this.#status, this.#end),
      this.#own,
    );
  }

  /** @param {string} name of the room */
  async start(name) {
    try {
      const local = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
      this.#local = local;
      this.#own.srcObject = local;
      const room = new Room({ room: name, token: tokenOfPage() });
      this.#room = room;
      addEventListener('pagehide', () => room.leave());
      // Nothing goes by way of the server, and nothing is wanted from there.
      room.want([]);
      await room.join([]);
      await joined(room);
      const call = new DirectCall(room, local);
      this.#call = call;
      this.#video.srcObject = call.remote;
      call.addEventListener('state', () => this.#draw(call.state));
      this.#draw(call.state);
      await call.start();
    } catch (error) {
      this.#hangUp();
      this.#status.textContent = error instanceof Error && error.message ? error.message : text.over;
    }
  }

  /** @param {import('../direct.js').DirectState} state */
  #draw(state) {
    this.#status.textContent = text[state];
    this.#end.hidden = state === 'over';
  }

  #hangUp() {
    this.#call?.end();
    this.#room?.leave();
    for (const track of this.#local?.getTracks() ?? []) track.stop();
    this.#end.hidden = true;
  }
}

/**
 * Waits until the room has taken us in: before that the others do not know us.
 *
 * @param {Room} room
 */
function joined(room) {
  if (room.state === 'joined' && room.roster.me) return null;
  return new Promise(resolve => room.addEventListener('snapshot', resolve, { once: true }));
}

const place = placeOfPath(location.pathname);
const page = new DirectPage();
document.querySelector('#app')?.replaceWith(page.element);
if (place) {
  document.title = text.title(place.room);
  page.start(place.room);
}
