// A narrow link between a browser and the server, in user space: a rate, a queue before it that
// overflows at its end, a delay, jitter and loss. Only what the server sends passes the queue; the
// way up has the delay and loss of its own.
//
// It runs in a thread of its own, so that what a test does meanwhile moves no packet.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

/**
 * What a link is like. `rate` is in bit/s, times in ms; `loss` is the share of packets that get lost, in bursts
 * of `burst` packets on average; with 1 nothing comes through.
 */
const OPEN = { rate: Infinity, queueMs: 300, delayMs: 0, jitterMs: 0, loss: 0, burst: 1 };

export class Link {
  #worker;

  /** A link to a UDP port of this machine. */
  static async start(server, { down = {}, up = {}, seed = 1 } = {}) {
    const link = new Link();
    link.#worker = new Worker(new URL(import.meta.url), { workerData: { server, down, up, seed } });
    [link.port] = await once(link.#worker, 'message');
    return link;
  }

  /** Makes it different from now on: `{ down: { rate: 300_000 } }`. */
  change(change) {
    this.#worker.postMessage(change);
  }

  /** What it has passed on and dropped, each way. */
  async counted() {
    this.#worker.postMessage('count');
    return (await once(this.#worker, 'message'))[0];
  }

  stop() {
    return this.#worker.terminate();
  }
}

/** One direction. */
class Pipe {
  #is = { ...OPEN };
  #random;
  #freeAt = 0;
  #lastAt = 0;
  #losing = false;
  /** `offered` is what came, passed on or not: bytes by the tenth of a second of the wall clock. */
  counted = { passed: 0, lost: 0, overflowed: 0, longestQueueMs: 0, offered: {} };

  constructor(is, seed) {
    this.#random = random(seed);
    this.change(is);
  }

  change(is) {
    Object.assign(this.#is, is);
    // What stands in the queue leaves at the rate that it came for; a change is felt by what comes now.
    this.#freeAt = Math.min(this.#freeAt, performance.now() + this.#is.queueMs);
  }

  /** Takes a datagram in, and delivers it when it has passed. */
  push(bytes, deliver) {
    const now = performance.now();
    const tenth = Math.floor(Date.now() / 100);
    this.counted.offered[tenth] = (this.counted.offered[tenth] ?? 0) + bytes;
    if (this.#isLost()) {
      this.counted.lost += 1;
      return;
    }
    const begins = Math.max(now, this.#freeAt);
    if (begins - now > this.#is.queueMs) {
      this.counted.overflowed += 1;
      return;
    }
    this.counted.longestQueueMs = Math.max(this.counted.longestQueueMs, begins - now);
    this.#freeAt = begins + (8000 * bytes) / this.#is.rate;
    const at = this.#freeAt + this.#is.delayMs + this.#random() * this.#is.jitterMs;
    // Jitter reorders nothing: queues of real networks do not.
    this.#lastAt = Math.max(this.#lastAt, at);
    this.counted.passed += 1;
    if (this.#lastAt - now < 0.5) deliver();
    else setTimeout(deliver, this.#lastAt - now);
  }

  /** Two states (Gilbert): one that loses nothing, and one that loses everything. */
  #isLost() {
    const { loss, burst } = this.#is;
    if (loss === 0 || loss === 1) this.#losing = loss === 1;
    else if (this.#losing) this.#losing = this.#random() >= 1 / burst;
    else this.#losing = this.#random() < loss / (burst * (1 - loss));
    return this.#losing;
  }
}

/** What came to one direction of a link, in bit/s, over `forMs` from a moment of the wall clock. */
export function offeredRate({ offered }, from, forMs) {
  const first = Math.ceil(from / 100);
  let bytes = 0;
  for (let tenth = first; tenth < first + forMs / 100; tenth += 1) bytes += offered[tenth] ?? 0;
  return (8000 * bytes) / forMs;
}

/** Random numbers that are the same for the same seed (mulberry32). */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Carries datagrams: each client of the link has a socket of its own towards the server. */
async function run({ server, down, up, seed }) {
  const pipes = { down: new Pipe(down, seed), up: new Pipe(up, seed + 1) };
  const front = createSocket('udp4');
  const backs = new Map();
  const backOf = ({ address, port }) => {
    const key = `${address}:${port}`;
    if (!backs.has(key)) {
      const back = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
      back.on('message', data => pipes.down.push(data.length, () => front.send(data, port, address)));
      back.bind(0, '127.0.0.1');
      backs.set(key, back);
    }
    return backs.get(key);
  };
  front.on('message', (data, from) => {
    pipes.up.push(data.length, () => backOf(from).send(data, server, '127.0.0.1'));
  });
  front.bind(0, '127.0.0.1');
  await once(front, 'listening');
  parentPort.on('message', asked => {
    if (asked === 'count') {
      parentPort.postMessage({ down: pipes.down.counted, up: pipes.up.counted });
      return;
    }
    for (const [way, is] of Object.entries(asked)) pipes[way].change(is);
  });
  parentPort.postMessage(front.address().port);
}

if (!isMainThread && workerData?.server) await run(workerData);
