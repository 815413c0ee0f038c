// The stage: which seats are on screen, and how large. Tells what it shows, so that the server
// sends that and nothing else.

import { strings } from '../strings.js';
import { h, iconButton } from './dom.js';
import { cornerBox, focusLayout, gridLayout, MOST_TILES } from './layout.js';
import { say } from './notices.js';
import { SeatOrder } from './seats.js';
import { Tile } from './tile.js';

/**
 * @import { Seat } from './seats.js'
 * @import { Box } from './layout.js'
 * @import { Wish } from '../wishes.js'
 */

const text = strings.stage;

/** What the allocation gives up last: the large picture, then who speaks, then the others. */
const PRIORITY = { main: 220, speaker: 170, other: 128 };
/** Sizes are asked for in steps, so that dragging a window's edge asks for few. */
const SIZE_STEP = 40;
/** How long the buttons of tiles stay after a tap: enough to aim at one. */
const TOUCHED_MS = 3000;

/** The stage; `show` says what is visible, most wanted first. */
export class Stage {
  #area = h('div', { class: 'stage-area', role: 'group', 'aria-label': text.label });
  #previous = iconButton({
    icon: 'left',
    label: text.previous,
    key: '←',
    class: 'turn',
    onclick: () => this.turn(-1),
  });
  #next = iconButton({
    icon: 'right',
    label: text.next,
    key: '→',
    class: 'turn',
    onclick: () => this.turn(1),
  });
  #pageText = h('span', { class: 'page-text' });
  #pager = h('nav', { class: 'pager', hidden: true }, this.#previous, this.#pageText, this.#next);
  element = h('section', { class: 'stage' }, this.#area, this.#pager);

  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  #order = new SeatOrder();
  /** @type {Seat[]} */
  #seats = [];
  #page = 0;
  #pages = 1;
  /** @type {Seat[]} who is on the first page */
  #firstPage = [];
  /** @type {string | null} */
  #speaker = null;
  /** @type {string | null} the last one who spoke and is not ourselves */
  #lastSpeaker = null;
  /** @type {string | null} */
  #pinned = null;
  /** @type {'grid' | 'focus'} */
  #layout = 'grid';
  /** @type {'grid' | 'focus'} what to return to when nobody shares a screen any more */
  #layoutBefore = 'grid';
  #touchTimer = 0;
  #mediaOf;
  #show;
  #observer = new ResizeObserver(() => this.draw());

  /**
   * @param {object} options
   * @param {(seat: Seat) => MediaStreamTrack | null} options.mediaOf
   * @param {(wishes: Wish[]) => void} options.show
   * @param {() => void} options.onLayout
   */
  constructor({ mediaOf, show, onLayout }) {
    this.#mediaOf = mediaOf;
    this.#show = show;
    this.onLayout = onLayout;
    this.#observer.observe(this.#area);
    this.#area.addEventListener('pointerup', ({ pointerType }) => {
      if (pointerType === 'touch') this.#touched();
    });
  }

  get layout() {
    return this.#layout;
  }

  /** @param {'grid' | 'focus'} layout */
  setLayout(layout) {
    this.#layout = layout;
    if (layout === 'grid') this.#pinned = null;
    this.#page = 0;
    this.draw();
    this.onLayout();
  }

  /**
   * @param {Seat[]} seats
   * @param {string | null} speaker participant
   */
  update(seats, speaker) {
    const hadScreen = this.#seats.some(isOthersScreen);
    this.#seats = this.#order.sort(seats);
    const hasScreen = this.#seats.some(isOthersScreen);
    if (speaker !== this.#speaker) this.#speakerChanged(speaker);
    if (this.#pinned && !seats.some(({ key }) => key === this.#pinned)) this.#pinned = null;
    if (hasScreen && !hadScreen) {
      this.#layoutBefore = this.#layout;
      this.setLayout('focus');
    } else if (hadScreen && !hasScreen && !this.#pinned) {
      this.setLayout(this.#layoutBefore);
    } else {
      this.draw();
    }
  }

  /** @param {number} by pages */
  turn(by) {
    const page = Math.max(0, Math.min(this.#pages - 1, this.#page + by));
    if (page === this.#page) return;
    this.#page = page;
    this.draw();
    say(text.page(page + 1, this.#pages));
  }

  /** The seat that is most worth a small window of its own. */
  get main() {
    return this.#mainSeat() ?? this.#seats.find(seat => !seat.isSelf) ?? this.#seats[0] ?? null;
  }

  /** Seats with a tile now. */
  get visible() {
    return this.#seats.filter(({ key }) => this.#tiles.has(key));
  }

  /**
   * @param {string} key
   * @returns {Tile | undefined}
   */
  tile(key) {
    return this.#tiles.get(key);
  }

  /**
   * Where somebody is on screen, if they are.
   *
   * @param {string} participant
   */
  boxOf(participant) {
    const seat = this.visible.find(seat => seat.participant === participant && !seat.isScreen);
    return seat ? (this.#tiles.get(seat.key)?.element.getBoundingClientRect() ?? null) : null;
  }

  /** To be called when it leaves the page. */
  close() {
    this.#observer.disconnect();
    for (const tile of this.#tiles.values()) tile.close();
  }

  /** Lays all out anew. */
  draw() {
    const { clientWidth: width, clientHeight: height } = this.#area;
    if (width === 0 || height === 0) return;
    const main = this.#layout === 'focus' ? this.#mainSeat() : null;
    const placed = main ? this.#drawFocus(width, height, main) : this.#drawGrid(width, height);
    for (const [key, tile] of this.#tiles) {
      if (placed.has(key)) continue;
      tile.close();
      this.#tiles.delete(key);
    }
    for (const seat of this.#seats) {
      const box = placed.get(seat.key);
      if (box) this.#drawTile(seat, box, seat === main, this.#isCorner(seat, placed.size));
    }
    this.#drawPager();
    this.#show(this.#wishes(placed, main));
  }

  /** @param {string | null} speaker */
  #speakerChanged(speaker) {
    this.#speaker = speaker;
    const seat = this.#seats.find(({ participant, isScreen }) => participant === speaker && !isScreen);
    if (!seat || seat.isSelf) return;
    this.#lastSpeaker = seat.key;
    // Oneself and screens have places of their own.
    const people = this.#firstPage.filter(({ isSelf, isScreen }) => !isSelf && !isScreen);
    this.#order.spoke(
      seat.key,
      people.map(({ key }) => key),
    );
    this.#seats = this.#order.sort(this.#seats);
  }

  /** @returns {Seat | null} */
  #mainSeat() {
    const seats = this.#seats;
    const others = seats.filter(({ isSelf }) => !isSelf);
    return (
      seats.find(({ key }) => key === this.#pinned) ??
      others.find(({ isScreen }) => isScreen) ??
      others.find(({ key }) => key === this.#lastSpeaker) ??
      others[0] ??
      seats[0] ??
      null
    );
  }

  /**
   * @param {number} width
   * @param {number} height
   * @returns {Map<string, Box>}
   */
  #drawGrid(width, height) {
    const others = this.#seats.filter(({ key }) => key !== 'self');
    const self = this.#seats.find(({ key }) => key === 'self');
    if (self && others.length === 1) {
      this.#paginate(this.#seats, MOST_TILES);
      const { boxes } = gridLayout(width, height, 1);
      return new Map([
        [others[0].key, boxes[0]],
        [self.key, cornerBox(boxes[0])],
      ]);
    }
    const { perPage } = gridLayout(width, height, this.#seats.length);
    const ordered = withSelf(this.#seats, perPage);
    this.#paginate(ordered, perPage);
    const shown = ordered.slice(this.#page * perPage, (this.#page + 1) * perPage);
    // A last page that is not full has tiles of the same size as the others.
    const { boxes } = gridLayout(width, height, this.#pages > 1 ? perPage : shown.length);
    return new Map(shown.map((seat, index) => [seat.key, boxes[index]]));
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {Seat} main
   * @returns {Map<string, Box>}
   */
  #drawFocus(width, height, main) {
    const aspect = main.isScreen ? (this.#tiles.get(main.key)?.aspect ?? 16 / 9) : null;
    const { boxes, perPage } = focusLayout(width, height, this.#seats.length, aspect);
    const others = withSelf(
      this.#seats.filter(seat => seat !== main),
      perPage,
    );
    this.#paginate(others, Math.max(1, perPage));
    const shown = others.slice(this.#page * perPage, (this.#page + 1) * perPage);
    return new Map([main, ...shown].map((seat, index) => [seat.key, boxes[index]]));
  }

  /**
   * @param {Seat[]} ordered
   * @param {number} perPage
   */
  #paginate(ordered, perPage) {
    this.#firstPage = ordered.slice(0, perPage);
    this.#pages = Math.max(1, Math.ceil(ordered.length / perPage));
    this.#page = Math.min(this.#page, this.#pages - 1);
  }

  /**
   * @param {Seat} seat
   * @param {number} placed
   */
  #isCorner(seat, placed) {
    return this.#layout === 'grid' && seat.key === 'self' && placed === 2 && this.#seats.length === 2;
  }

  /**
   * @param {Seat} seat
   * @param {Box} box
   * @param {boolean} isMain
   * @param {boolean} isCorner
   */
  #drawTile(seat, box, isMain, isCorner) {
    let tile = this.#tiles.get(seat.key);
    if (!tile) {
      tile = new Tile({
        togglePin: () => this.#togglePin(seat.key),
        onShape: () => seat.isScreen && this.draw(),
      });
      this.#tiles.set(seat.key, tile);
      tile.place(box);
      this.#area.append(tile.element);
    }
    tile.place(box);
    tile.update(seat, {
      track: this.#mediaOf(seat),
      // Opposite one other there is no question who speaks.
      isSpeaking: seat.participant === this.#speaker && this.#seats.length > 2,
      isPinned: seat.key === this.#pinned,
      isMain,
      isCorner,
    });
  }

  /** Shows the tiles' buttons for a while, where no pointer can hover. */
  #touched() {
    clearTimeout(this.#touchTimer);
    this.element.classList.add('is-touched');
    this.#touchTimer = setTimeout(() => this.element.classList.remove('is-touched'), TOUCHED_MS);
  }

  /** @param {string} key */
  #togglePin(key) {
    const isPinned = this.#pinned === key;
    this.#pinned = isPinned ? null : key;
    const hasScreen = this.#seats.some(isOthersScreen);
    this.#layout = isPinned && !hasScreen ? 'grid' : 'focus';
    this.#page = 0;
    this.draw();
    this.onLayout();
  }

  #drawPager() {
    this.#pager.hidden = this.#pages === 1;
    this.element.classList.toggle('has-pages', this.#pages > 1);
    this.#previous.disabled = this.#page === 0;
    this.#next.disabled = this.#page === this.#pages - 1;
    this.#pageText.textContent = `${this.#page + 1} / ${this.#pages}`;
    this.#pageText.setAttribute('aria-label', text.page(this.#page + 1, this.#pages));
  }

  /**
   * @param {Map<string, Box>} placed
   * @param {Seat | null} main
   * @returns {Wish[]}
   */
  #wishes(placed, main) {
    const wishes = this.#seats.flatMap(seat => {
      const box = placed.get(seat.key);
      if (!box || !seat.track) return [];
      const priority =
        seat === main || seat.isScreen
          ? PRIORITY.main
          : seat.participant === this.#speaker
            ? PRIORITY.speaker
            : PRIORITY.other;
      return [{ track: seat.track, width: pixels(box.width), height: pixels(box.height), priority }];
    });
    return wishes.sort((a, b) => b.priority - a.priority);
  }
}

/**
 * Oneself is last on the first page, wherever the others sit.
 *
 * @param {Seat[]} seats
 * @param {number} perPage
 */
function withSelf(seats, perPage) {
  const self = seats.find(({ key }) => key === 'self');
  const others = seats.filter(seat => seat !== self);
  return self ? others.toSpliced(Math.max(0, perPage - 1), 0, self) : others;
}

/** @param {Seat} seat */
const isOthersScreen = seat => seat.isScreen && !seat.isSelf;

/** @param {number} length CSS pixels */
function pixels(length) {
  return Math.ceil((length * devicePixelRatio) / SIZE_STEP) * SIZE_STEP;
}
