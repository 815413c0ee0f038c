// A meeting's page: which of its views is shown.

import { Encryption } from '../encryption.js';
import { LocalMedia } from '../media.js';
import { HttpError } from '../session.js';
import { strings } from '../strings.js';
import { tokenOfPage } from './address.js';
import { h, loadStyle } from './dom.js';
import { showHome, wordmark } from './home.js';
import { Lobby } from './lobby.js';
import { roomOfPath } from './names.js';
import { mountNotices } from './notices.js';
import { prefs, rememberRoom } from './prefs.js';
import { Tabs } from './tabs.js';

/** @type {Promise<typeof import('./call.js')> | undefined} */
let loading;

/** What a call consists of is most of the page: it comes while one is in the lobby, and again if it failed. */
function loadCall() {
  loading ??= Promise.all([import('./call.js'), ...['call', 'stage', 'talk'].map(loadStyle)]).then(
    ([module]) => module,
  );
  loading.catch(() => {
    loading = undefined;
  });
  return loading;
}

const app = /** @type {HTMLElement} */ (document.getElementById('app'));

/** @param {HTMLElement} view */
function show(view) {
  app.replaceChildren(view);
}

/** @param {string} roomName */
function showLobby(roomName) {
  document.title = strings.title(roomName);
  const media = new LocalMedia();
  const name = new URLSearchParams(location.search).get('name') ?? prefs.name;
  /** @type {import('../room.js').Room | undefined} */
  let room;
  const tabs = new Tabs(roomName, {
    onOther: () => lobby.showElsewhere(),
    onTaken: () => room?.leave('resumed'),
  });
  const lobby = new Lobby({
    room: roomName,
    media,
    name,
    join: async () => {
      /** @type {typeof import('./call.js')} */
      let parts;
      try {
        parts = await loadCall();
        const encryption = await lobby.encryption(roomName);
        room = new parts.Room({ room: roomName, name: prefs.name, token: tokenOfPage(), encryption });
        await room.join(parts.firstTracks(media));
      } catch (error) {
        lobby.showFailure(failureText(error));
        return;
      }
      rememberRoom(roomName);
      lobby.close();
      tabs.joined();
      room.addEventListener('over', () => tabs.close());
      showCall(parts.Call, roomName, room, media);
    },
  });
  show(lobby.element);
  // Whoever joins asks again, and is told if it fails.
  loadCall().catch(() => {});
}

/**
 * @param {typeof import('./call.js').Call} Call
 * @param {string} roomName
 * @param {import('../room.js').Room} room
 * @param {LocalMedia} media
 */
function showCall(Call, roomName, room, media) {
  const call = new Call({ room, roomName, name: prefs.name, media, leave: () => room.leave() });
  const leaveNow = () => room.leave();
  addEventListener('pagehide', leaveNow);
  room.addEventListener('over', event => {
    removeEventListener('pagehide', leaveNow);
    call.close();
    media.close();
    showOver(roomName, /** @type {CustomEvent} */ (event).detail);
  });
  show(call.element);
  call.focus();
}

/**
 * @param {string} roomName
 * @param {string | null} reason
 */
function showOver(roomName, reason) {
  const { over } = strings;
  const sentences = new Map([
    ['left', over.left],
    ['resumed', over.resumed],
    ['removed', over.removed],
    ['room-ended', over.ended],
  ]);
  const sentence = sentences.get(reason ?? '') ?? over.closed;
  const again = h(
    'button',
    { type: 'button', class: 'primary', onclick: () => showLobby(roomName) },
    over.again,
  );
  show(
    h(
      'main',
      { class: 'over' },
      h('header', { class: 'page-header' }, wordmark()),
      h(
        'div',
        { class: 'over-body' },
        h('h1', {}, sentence),
        h('div', { class: 'button-row' }, again, h('a', { class: 'quiet', href: '/' }, over.home)),
      ),
    ),
  );
  again.focus();
}

/** @param {unknown} error */
function failureText(error) {
  const { failed } = strings;
  if (!(error instanceof HttpError)) {
    return Encryption.isSupported ? failed.unreachable : strings.encryption.unsupported;
  }
  if (error.isTemporary) return failed.full;
  if (error.problem === 'room-locked') return failed.locked;
  return failed.refused(error.message);
}

function start() {
  mountNotices();
  if (!('RTCPeerConnection' in globalThis)) {
    show(h('main', { class: 'over' }, h('p', { class: 'problem' }, strings.failed.unsupported)));
    return;
  }
  const room = roomOfPath(location.pathname);
  if (room === null) showHome(app);
  else showLobby(room);
}

// A page that comes back from the browser's memory has left its room: it starts afresh.
addEventListener('pageshow', event => {
  if (event.persisted) location.reload();
});

start();
