// The call: brings the room and the parts of its page together.

import { sendableCodecs } from '../codecs.js';
import { canShareScreen } from '../media.js';
import { strings } from '../strings.js';
import { inviteLink } from './address.js';
import { Chat } from './chat.js';
import { choice, devicePicker, levelBar, toggle } from './devices.js';
import { h, icon } from './dom.js';
import { encryptionSign } from './encrypted.js';
import { wordmark } from './home.js';
import { Hosts } from './hosts.js';
import { copyInvite } from './invite.js';
import { menu, menuItem } from './menus.js';
import { note, say, showBanner } from './notices.js';
import { Own } from './own.js';
import { People } from './people.js';
import { prefs, remember } from './prefs.js';
import { Quality } from './quality.js';
import { Reactions } from './reactions.js';
import { seatsOf } from './seats.js';
import { Shortcuts } from './shortcuts.js';
import { Stage } from './stage.js';
import { Toolbar } from './toolbar.js';
import { Voices } from './voices.js';
import { WakeLock } from './wake.js';

// Whoever loads a call needs these to begin it.
export { Room } from '../room.js';
export { firstTracks } from './own.js';

/**
 * @import { LocalMedia } from '../media.js'
 * @import { Room } from '../room.js'
 * @import { Seat } from './seats.js'
 * @import { Wish } from '../wishes.js'
 */

/** A tab that stays hidden this long gets no pictures; looking away for a moment costs nothing. */
const HIDDEN_MS = 5000;

/** How long what changes is gathered until it is drawn. */
const FRAME_MS = 16;

/** What is asked for when little is to be received: the smallest layer of a camera. */
const LOW = { width: 320, height: 180 };

/** How many layers of the camera are sent. */
const LAYERS = { high: 3, medium: 2, low: 1 };

/** In rooms with more people than this, nobody wants to be told of each who comes and goes. */
const CROWD = 20;

/** Events of the room after which something on the page is different. */
const CHANGES = [
  'snapshot',
  'participant',
  'participant-left',
  'track',
  'track-ended',
  'binding',
  'speaker',
  'room',
  'local',
  'encryption',
];

/** The page of one call. */
export class Call {
  #room;
  #media;
  #name;
  #roomName;
  #own;
  #stage;
  #toolbar;
  #people;
  #hosts;
  #chat;
  #reactions;
  #quality;
  #shortcuts;
  #voices = new Voices();
  /** @type {import('./pip.js').PictureInPicture | undefined} of those who have asked for it */
  #pip;
  #wakeLock = new WakeLock();
  /** @type {import('./prefs.js').Prefs['receive']} */
  #receive = prefs.mode === 'audio' ? 'none' : prefs.receive;
  #isHidden = false;
  #lacksPassphrase = false;
  #hiddenTimer = 0;
  /** @type {Wish[]} */
  #wishes = [];
  #isDrawing = false;
  #alone;
  #heading;
  #end = new AbortController();

  /**
   * @param {{room: Room, roomName: string, name: string, media: LocalMedia, leave: () => void}} options
   */
  constructor({ room, roomName, name, media, leave }) {
    this.#room = room;
    this.#media = media;
    this.#name = name;
    this.#roomName = roomName;
    this.#own = new Own(room, media);
    this.#stage = new Stage({
      mediaOf: seat => this.#mediaOf(seat),
      show: wishes => this.#want(wishes),
      onLayout: () => this.#changed(),
    });
    this.#reactions = new Reactions(room, participant => this.#stage.boxOf(participant));
    this.#chat = new Chat({
      room,
      ownName: name,
      close: () => this.#togglePanel('chat'),
      onUnread: () => this.#changed(),
    });
    this.#hosts = new Hosts({ room, writeTo: participant => this.#writeTo(participant) });
    this.#people = new People({
      close: () => this.#togglePanel('people'),
      invite: this.#inviteButton('plain'),
      hosts: this.#hosts.element,
      actions: row => this.#hosts.actions(row),
    });
    this.#quality = new Quality(room, this.#stage);
    const actions = this.#actions();
    this.#shortcuts = new Shortcuts(actions);
    this.#toolbar = new Toolbar({ ...actions, leave }, this.#menus(actions));
    this.#alone = this.#aloneCard();
    this.#heading = h('h1', { class: 'call-room', tabIndex: -1 }, roomName);
    const header = h(
      'header',
      { class: 'call-header' },
      wordmark(),
      this.#heading,
      room.encryption && encryptionSign(),
      this.#inviteButton('quiet'),
    );
    this.element = h(
      'main',
      { class: 'call' },
      header,
      h(
        'div',
        { class: 'call-body' },
        h('div', { class: 'stage-holder' }, this.#stage.element, this.#alone, this.#quality.element),
        this.#people.element,
        this.#chat.element,
      ),
      this.#toolbar.element,
      this.#reactions.element,
      this.#shortcuts.element,
    );
    this.#stage.setLayout(prefs.layout);
    room.sendLayers(LAYERS[prefs.send]);
    if (prefs.codec) room.sendCodec(prefs.codec);
    this.#listen();
    this.#voices.play(room.voices);
    this.#draw();
  }

  /** To be called when it is in the page: whoever listens hears which room this is, and goes on from there. */
  focus() {
    this.#heading.focus();
  }

  /** To be called when it leaves the page. */
  close() {
    this.#end.abort();
    clearTimeout(this.#hiddenTimer);
    this.#own.close();
    this.#voices.close();
    this.#pip?.close();
    this.#wakeLock.close();
    this.#quality.close();
    this.#shortcuts.close();
    this.#stage.close();
    showBanner(null);
  }

  #listen() {
    const { signal } = this.#end;
    const room = this.#room;
    for (const name of CHANGES) room.addEventListener(name, () => this.#changed(), { signal });
    /** @param {string} name @param {(detail: any) => void} listener */
    const on = (name, listener) =>
      room.addEventListener(name, event => listener(/** @type {CustomEvent} */ (event).detail), { signal });
    on('state', state => this.#stateChanged(state));
    on('health', isWell => this.#healthChanged(isWell));
    on('arrived', person => this.#noteMovement(strings.notice.joined(person.name || person.id)));
    on('message', message => {
      this.#chat.hear(message);
      this.#reactions.hear(message);
    });
    on('snapshot', () => this.#chat.recall());
    on('silenced', source => this.#silenced(source));
    on('moved', () => note(strings.moderation.moved));
    on('departed', person => this.#noteMovement(strings.notice.left(person.name || person.id)));
    this.#voices.addEventListener('blocked', () => this.#askForSound(), { signal });
    this.#media.addEventListener('change', () => this.#changed(), { signal });
    document.addEventListener('visibilitychange', () => this.#visibilityChanged(), { signal });
  }

  #actions() {
    return {
      microphone: () => this.#own.setMicrophone(!this.#own.micOn),
      talk: (/** @type {boolean} */ isHeld) => this.#own.talk(isHeld),
      camera: () => this.#own.toggleCamera(),
      share: () => this.#own.toggleScreen(),
      layout: () => this.#toggleLayout(),
      people: () => this.#togglePanel('people'),
      chat: () => this.#togglePanel('chat'),
      hand: () => this.#reactions.toggleHand(),
      page: (/** @type {number} */ by) => this.#stage.turn(by),
      fullScreen: () => this.#toggleFullScreen(),
      stats: () => this.#quality.toggle(),
    };
  }

  /** @param {Pick<import('./shortcuts.js').Actions, 'layout' | 'share' | 'fullScreen' | 'stats' | 'hand'>} actions */
  #menus(actions) {
    const media = this.#media;
    const text = strings.bar;
    const audio = menu(
      text.audioMenu,
      devicePicker(media, 'audioinput', device => media.start('audio', device)),
      levelBar(media),
      devicePicker(media, 'audiooutput', device => this.#voices.useSpeaker(device)),
    );
    const camera = menu(
      text.cameraMenu,
      devicePicker(media, 'videoinput', device => media.start('video', device)),
      choice({
        label: text.send,
        icon: 'signal',
        options: text.sendOptions,
        value: prefs.send,
        choose: send => {
          remember({ send });
          this.#room.sendLayers(LAYERS[send]);
        },
      }),
      this.#codecChoice(),
      toggle(strings.device.mirror, prefs.mirror, mirror => {
        remember({ mirror });
        this.#changed();
      }),
    );
    const canFill = document.fullscreenEnabled;
    const more = menu(
      text.more,
      menuItem({ icon: 'link', label: strings.invite.copy, onclick: () => copyInvite(this.#roomName) }),
      canShareScreen() &&
        menuItem({ icon: 'screen', label: text.shareMenu, class: 'menu-share', onclick: actions.share }),
      menuItem({ icon: 'focus', label: text.otherLayout, class: 'menu-layout', onclick: actions.layout }),
      canFill && menuItem({ icon: 'full', label: text.fullScreen, key: 'F', onclick: actions.fullScreen }),
      document.pictureInPictureEnabled &&
        menuItem({ icon: 'pip', label: text.pip, onclick: () => this.#togglePip() }),
      menuItem({ icon: 'stats', label: text.stats, key: 'I', onclick: actions.stats }),
      menuItem({ icon: 'keyboard', label: text.shortcuts, key: '?', onclick: () => this.#shortcuts.help() }),
      choice({
        label: text.receive,
        icon: 'eye',
        options: text.receiveOptions,
        value: this.#receive,
        choose: receive => {
          remember({ receive });
          this.#receive = receive;
          this.#want(this.#wishes);
        },
      }),
    );
    const react = menu(
      text.react,
      this.#reactions.buttons(() => react.hidePopover()),
      menuItem({ icon: 'hand', label: text.hand, key: 'H', class: 'menu-hand', onclick: actions.hand }),
    );
    return { audio, camera, react, more };
  }

  /** In encrypted rooms there is one codec, and nothing to choose. */
  #codecChoice() {
    const names = this.#room.encryption ? [] : sendableCodecs();
    if (names.length < 2) return false;
    /** @type {Record<string, string>} */
    const options = { '': strings.bar.codecAuto };
    for (const name of names) options[name] = strings.bar.codecs[name] ?? name;
    return choice({
      label: strings.bar.codec,
      icon: 'camera',
      options,
      value: prefs.codec in options ? prefs.codec : '',
      choose: codec => {
        remember({ codec });
        this.#room.sendCodec(codec);
      },
    });
  }

  /** @param {'quiet' | 'plain'} style */
  #inviteButton(style) {
    const onclick = () => copyInvite(this.#roomName);
    const label = h('span', { class: 'button-label' }, strings.invite.copy);
    return h(
      'button',
      { type: 'button', class: style, onclick, 'aria-label': strings.invite.copy },
      icon('link'),
      label,
    );
  }

  #aloneCard() {
    return h(
      'section',
      { class: 'alone' },
      h('h2', {}, strings.stage.alone),
      h('p', {}, strings.stage.aloneHint),
      h('p', { class: 'alone-link' }, inviteLink(this.#roomName)),
      this.#inviteButton('plain'),
    );
  }

  /** Something changed. When many people come, much changes at once: it is drawn once for each frame of the screen. */
  #changed() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    // Not `requestAnimationFrame`, which waits for as long as the tab is hidden.
    setTimeout(() => {
      this.#isDrawing = false;
      if (!this.#end.signal.aborted) this.#draw();
    }, FRAME_MS);
  }

  #draw() {
    const room = this.#room;
    const seats = seatsOf(room, this.#name);
    this.#drawEncryption();
    this.#alone.hidden = room.state !== 'joined' || room.roster.others.length > 0;
    this.#stage.update(seats, room.roster.speaker);
    this.#people.update(room, this.#name);
    this.#hosts.update();
    this.#chat.update();
    this.#reactions.update();
    document.title = titleOf(this.#roomName, this.#chat.unread);
    this.#toolbar.update({
      canSend: this.#own.canSend,
      micOn: this.#own.micOn,
      cameraOn: this.#own.cameraOn,
      sharing: this.#own.sharing,
      layout: this.#stage.layout,
      people: room.roster.participants.size,
      handUp: this.#reactions.isHandUp,
      unread: this.#chat.unread,
    });
    if (this.#pip?.isOpen) this.#pip.follow(this.#mainTrack());
  }

  /** Who has no passphrase would hear noise; they hear nothing and are told why. */
  #drawEncryption() {
    const { encryption, roster } = this.#room;
    const isMissing = !encryption && roster.others.some(({ id }) => this.#room.cannotRead(id));
    if (isMissing === this.#lacksPassphrase) return;
    this.#lacksPassphrase = isMissing;
    this.#voices.silence(isMissing);
    this.#calm();
  }

  /** Takes away what the banner said of the connection; what stays true comes back. */
  #calm() {
    if (this.#lacksPassphrase) showBanner({ text: strings.encryption.missing });
    else if (this.#voices.isBlocked) this.#askForSound();
    else showBanner(null);
  }

  /** @param {Seat} seat */
  #mediaOf(seat) {
    if (seat.isSelf) return seat.local;
    return seat.track ? this.#room.media(seat.track) : null;
  }

  /** @param {Wish[]} wishes what is on screen */
  #want(wishes) {
    this.#wishes = wishes;
    const inWindow = this.#stage.main?.track;
    if (this.#receive === 'none') this.#room.want([]);
    else if (this.#isHidden)
      this.#room.want(wishes.filter(({ track }) => this.#pip?.isOpen && track === inWindow));
    else if (this.#receive === 'low') this.#room.want(wishes.map(wish => ({ ...wish, ...LOW })));
    else this.#room.want(wishes);
  }

  #mainTrack() {
    const { main } = this.#stage;
    return main ? this.#mediaOf(main) : null;
  }

  /** @param {import('../room.js').RoomState} state */
  #stateChanged(state) {
    this.element.classList.toggle('is-reconnecting', state === 'reconnecting');
    if (state === 'reconnecting') {
      const sentence = navigator.onLine ? strings.notice.reconnecting : strings.notice.offline;
      showBanner({ text: sentence, busy: true });
    } else if (state === 'joined') {
      this.#calm();
      note(strings.notice.back);
      this.#voices.play(this.#room.voices);
    }
    this.#changed();
  }

  /** @param {boolean} isWell */
  #healthChanged(isWell) {
    if (this.#room.state !== 'joined') return;
    if (isWell) this.#calm();
    else showBanner({ text: strings.notice.unstable, busy: true });
  }

  /** @param {string} sentence */
  #noteMovement(sentence) {
    if (this.#room.roster.participants.size <= CROWD) note(sentence);
  }

  #askForSound() {
    const onclick = async () => {
      if (await this.#voices.resume()) this.#calm();
    };
    showBanner({ text: strings.notice.autoplay, action: { label: strings.notice.autoplayButton, onclick } });
  }

  #visibilityChanged() {
    clearTimeout(this.#hiddenTimer);
    const apply = () => {
      this.#isHidden = document.hidden;
      this.#want(this.#wishes);
    };
    if (document.hidden) this.#hiddenTimer = setTimeout(apply, HIDDEN_MS);
    else apply();
  }

  #toggleLayout() {
    const layout = this.#stage.layout === 'grid' ? 'focus' : 'grid';
    remember({ layout });
    this.#stage.setLayout(layout);
    say(layout === 'grid' ? strings.bar.grid : strings.bar.focus);
  }

  /**
   * Opens a panel in place of the other, or closes it.
   *
   * @param {'people' | 'chat'} name
   */
  #togglePanel(name) {
    const panels = { people: this.#people, chat: this.#chat };
    const isOpen = !panels[name].isOpen;
    for (const [other, panel] of Object.entries(panels)) panel.toggle(isOpen && other === name);
    if (!isOpen) this.#toolbar.focus(name);
    this.#changed();
  }

  /** @param {string} participant */
  #writeTo(participant) {
    if (!this.#chat.isOpen) this.#togglePanel('chat');
    this.#chat.writeTo(participant);
  }

  /** @param {import('../roster.js').Source} source what a moderator muted */
  #silenced(source) {
    const sentences = strings.moderation.silenced;
    if (source === 'microphone') note(sentences.microphone);
    else if (source === 'camera') this.#own.stopCamera(sentences.camera);
    else if (source === 'screen') this.#own.stopScreen(sentences.screen);
  }

  async #toggleFullScreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await document.documentElement.requestFullscreen();
    } catch {
      // Not allowed here, as in a frame: nothing is lost.
    }
  }

  async #togglePip() {
    const { PictureInPicture } = await import('./pip.js');
    this.#pip ??= new PictureInPicture();
    await this.#pip.toggle(this.#mainTrack()).catch(() => {});
  }
}

/**
 * The page's title: from another tab one sees that somebody wrote.
 *
 * @param {string} room
 * @param {number} unread
 */
const titleOf = (room, unread) => (unread > 0 ? `(${unread}) ` : '') + strings.title(room);
