// One session on the server: the requests of docs/http.md, and nothing else.
// Used by whip.js, whep.js and the room; has no state but what the server answered.

/** What the server said when it did not do what was asked (RFC 9457). */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {number | null} retryAfterSeconds
   * @param {string} [problem] the last part of its type, as `room-locked`
   */
  constructor(status, detail, retryAfterSeconds, problem = '') {
    super(detail || `HTTP ${status}`);
    this.name = 'HttpError';
    this.status = status;
    this.problem = problem;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether asking again later can help: full, too fast, going away. */
  get isTemporary() {
    return this.status === 429 || this.status >= 500 || this.status === 408;
  }
}

/**
 * @typedef {object} OpenOptions
 * @property {string} [name] display name
 * @property {string} [token] bearer token
 * @property {string} [resume] id of the session that this one continues
 */

/** Links whose relation types the server uses. */
const EVENTS = 'urn:plenum:events';
const SUBSCRIPTIONS = 'urn:plenum:subscriptions';

/** A session, by the capability URL that the server gave. */
export class Session {
  /**
   * Posts an offer to one of the four doors.
   *
   * @param {string} door absolute URL
   * @param {string} offer SDP
   * @param {OpenOptions} [options]
   * @returns {Promise<Session>}
   */
  static async open(door, offer, { name, token, resume } = {}) {
    const url = new URL(door);
    if (name) url.searchParams.set('name', name);
    /** @type {Record<string, string>} */
    const headers = { 'Content-Type': 'application/sdp' };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (resume) headers['X-Resume'] = resume;
    const response = await request(url.href, { method: 'POST', headers, body: offer });
    return new Session(response, await response.text(), token);
  }

  /**
   * @param {Response} response
   * @param {string} answer
   * @param {string} [token]
   */
  constructor(response, answer, token) {
    const at = response.url;
    const links = parseLinks(response.headers.get('Link') ?? '');
    /** @param {string | undefined} target */
    const absolute = target => (target ? new URL(target, at).href : null);
    this.url = new URL(response.headers.get('Location') ?? '', at).href;
    this.id = this.url.split('/').at(-1) ?? '';
    this.answer = answer;
    this.participant = response.headers.get('X-Participant');
    this.eventsUrl = absolute(links.get(EVENTS));
    this.subscriptionsUrl = absolute(links.get(SUBSCRIPTIONS));
    this.token = token;
  }

  /**
   * Sends a new offer; answers with the server's SDP.
   *
   * @param {string} sdp
   */
  async reoffer(sdp) {
    const response = await this.#send('PATCH', this.url, 'application/sdp', sdp);
    return response.text();
  }

  /**
   * Restarts ICE the standard way (RFC 9725 §4.3.2); answers with the server's fragment.
   *
   * @param {string} fragment
   */
  async restart(fragment) {
    const type = 'application/trickle-ice-sdpfrag';
    const response = await this.#send('PATCH', this.url, type, fragment, { 'If-Match': '*' });
    return response.text();
  }

  /**
   * Says what each slot is to show.
   *
   * @param {object} wish
   */
  async subscribe(wish) {
    const url = this.subscriptionsUrl ?? `${this.url}/subscriptions`;
    await this.#send('PUT', url, 'application/json', JSON.stringify(wish));
  }

  /**
   * Says which of its own tracks are muted.
   *
   * @param {Record<string, boolean>} muted by MID
   */
  async mute(muted) {
    await this.#send('PUT', `${this.url}/tracks`, 'application/json', JSON.stringify({ muted }));
  }

  /**
   * Says what the others are to know of us, in place of what they knew.
   *
   * @param {Record<string, string | number | boolean | null>} attributes
   */
  async describe(attributes) {
    await this.#send('PUT', `${this.url}/attributes`, 'application/json', JSON.stringify(attributes));
  }

  /**
   * Sends a message to the room's others; answers with its id.
   *
   * @param {string} url the room's `messages`
   * @param {object} message
   * @returns {Promise<string>}
   */
  async message(url, message) {
    const body = JSON.stringify({ session: this.id, ...message });
    const response = await this.#send('POST', url, 'application/json', body);
    return (await response.json()).id;
  }

  /** Leaves. Works while the page is going away; what happens to it then cannot be known. */
  async end() {
    try {
      await fetch(this.url, { method: 'DELETE', headers: this.#authorization(), keepalive: true });
    } catch {
      // The server will notice by itself that nobody is there.
    }
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {string} type
   * @param {string} body
   * @param {Record<string, string>} [headers]
   */
  #send(method, url, type, body, headers = {}) {
    return request(url, {
      method,
      headers: { 'Content-Type': type, ...this.#authorization(), ...headers },
      body,
    });
  }

  /** @returns {Record<string, string>} */
  #authorization() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }
}

/**
 * How long a request may take. Above three retransmitted SYNs (7 s) on a bad link; below
 * the time after which a person reloads the page.
 */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * @param {string} url
 * @param {RequestInit} init
 */
export async function request(url, init) {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  if (response.ok) return response;
  const seconds = Number(response.headers.get('Retry-After'));
  const problem = await response.json().catch(() => ({}));
  const detail = typeof problem?.detail === 'string' ? problem.detail : (problem?.title ?? '');
  const type = typeof problem?.type === 'string' ? problem.type.split(':').at(-1) : '';
  throw new HttpError(response.status, detail, seconds > 0 ? seconds : null, type);
}

/**
 * Targets of a `Link` header by relation (RFC 8288), as far as our server uses it.
 *
 * @param {string} header
 * @returns {Map<string, string>}
 */
export function parseLinks(header) {
  const links = new Map();
  for (const [, target, parameters] of header.matchAll(/<([^>]*)>((?:\s*;\s*[^,;]+)*)/g)) {
    const relation = /;\s*rel="?([^";]+)"?/.exec(parameters)?.[1];
    if (relation) links.set(relation, target);
  }
  return links;
}
