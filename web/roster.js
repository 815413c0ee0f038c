// Who is in the room and what they publish: the sum of the server's events.

/**
 * @typedef {Record<string, string | number | boolean | null>} Attributes
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name
 * @property {Attributes} [attributes] what they say of themselves
 * @property {'host'} [role] whether their token lets them moderate
 *
 * @typedef {'camera' | 'microphone' | 'screen' | 'screen-audio'} Source
 * @typedef {object} Track
 * @property {string} id
 * @property {string} participant
 * @property {'audio' | 'video'} kind
 * @property {Source} source
 * @property {boolean} muted
 * @property {'host'} [mutedBy] if it was not its publisher
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string | null} from null if the server speaks
 * @property {string | null} to null for everyone
 * @property {string} event what it is, as `chat`
 * @property {any} data
 * @property {number} at Unix time in milliseconds, by the server's clock
 *
 * @typedef {{publish: string[], subscribe: boolean, data: boolean, admin: boolean}} Grants
 * @typedef {{mid: string, track: string | null, participant: string | null}} Binding
 */

/** What a session may do where the server does not say. */
const NO_GRANTS = { publish: ['camera', 'microphone', 'screen'], subscribe: true, data: true, admin: false };

/** The room as this session sees it. */
export class Roster {
  me = '';
  /** @type {string | null} */
  speaker = null;
  /** @type {Map<string, Participant>} in the order they came */
  participants = new Map();
  /** @type {Map<string, Track>} */
  tracks = new Map();
  /** @type {Map<string, Binding>} by MID */
  bindings = new Map();
  /** @type {Set<string>} MIDs of slots that our path has no room for */
  halted = new Set();
  /** @type {Message[]} what the room remembers of its conversation, as of the last snapshot */
  messages = [];
  /** @type {Grants} what this session may do */
  grants = NO_GRANTS;
  /** Whether newcomers are kept out. */
  isLocked = false;

  /**
   * Takes in one event; events it does not know change nothing.
   *
   * @param {string} name
   * @param {any} data
   */
  apply(name, data) {
    switch (name) {
      case 'snapshot':
        this.#replace(data);
        break;
      case 'participant':
        this.participants.set(data.id, data);
        break;
      case 'participant-left':
        this.participants.delete(data.id);
        for (const track of this.tracksOf(data.id)) this.tracks.delete(track.id);
        if (this.speaker === data.id) this.speaker = null;
        break;
      case 'track':
        this.tracks.set(data.id, data);
        break;
      case 'track-ended':
        this.tracks.delete(data.id);
        break;
      case 'binding':
        this.bindings.set(data.mid, data);
        break;
      case 'quality':
        if (data.paused) this.halted.add(data.mid);
        else this.halted.delete(data.mid);
        break;
      case 'speaker':
        this.speaker = data.participant;
        break;
      case 'room':
        this.isLocked = data.locked;
        break;
    }
  }

  /** Everybody but this participant. */
  get others() {
    return [...this.participants.values()].filter(({ id }) => id !== this.me);
  }

  /** @param {string} participant */
  tracksOf(participant) {
    return [...this.tracks.values()].filter(track => track.participant === participant);
  }

  /**
   * @param {string} participant
   * @param {Source} source
   */
  track(participant, source) {
    return this.tracksOf(participant).find(track => track.source === source);
  }

  /**
   * The slot that shows a track.
   *
   * @param {string} track
   */
  slotOf(track) {
    for (const binding of this.bindings.values()) if (binding.track === track) return binding.mid;
    return null;
  }

  /** What each slot shows: slot to track. */
  get boundTracks() {
    const bound = [...this.bindings.values()];
    return new Map(bound.flatMap(({ mid, track }) => (track ? [[mid, track]] : [])));
  }

  /** @param {any} snapshot */
  #replace(snapshot) {
    /** @param {{id: string}[]} list @returns {Map<string, any>} */
    const byId = list => new Map(list.map(entry => [entry.id, entry]));
    this.me = snapshot.me;
    this.speaker = snapshot.speaker ?? null;
    this.messages = snapshot.messages ?? [];
    this.grants = snapshot.grants ?? NO_GRANTS;
    this.isLocked = snapshot.locked ?? false;
    this.participants = byId(snapshot.participants);
    this.tracks = byId(snapshot.tracks);
    this.halted = new Set(snapshot.paused ?? []);
    this.bindings = new Map(snapshot.bindings.map((/** @type {Binding} */ b) => [b.mid, b]));
  }
}
