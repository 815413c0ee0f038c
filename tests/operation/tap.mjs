// Between a server's media port and its clients: passes everything on, and counts what they are sent.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** What waits here may be all that a server sends at once. */
const BUFFER_BYTES = 4 << 20;
/** First bytes of RTP and RTCP (RFC 7983). */
const isMedia = datagram => datagram[0] >= 128 && datagram[0] < 192;

export class Tap {
  #front;
  #ways = new Map();
  /** How many datagrams of media each client was sent. */
  sent = new Map();

  /** Clients are to be told this port in the place of the server's. */
  static async open(port, server) {
    const tap = new Tap();
    tap.#front = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES });
    tap.#front.on('message', (datagram, client) => tap.#wayOf(client).send(datagram, server, '127.0.0.1'));
    tap.#front.bind(port, '127.0.0.1');
    await once(tap.#front, 'listening');
    return tap;
  }

  #wayOf(client) {
    let way = this.#ways.get(client.port);
    if (!way) {
      way = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES });
      way.on('message', datagram => {
        if (isMedia(datagram)) this.sent.set(client.port, (this.sent.get(client.port) ?? 0) + 1);
        this.#front.send(datagram, client.port, client.address);
      });
      this.#ways.set(client.port, way);
    }
    return way;
  }

  /** How many datagrams of media each client is sent while something goes on. */
  async during(work) {
    const before = new Map(this.sent);
    await work();
    return [...this.sent].map(([client, count]) => count - (before.get(client) ?? 0));
  }

  close() {
    for (const socket of [this.#front, ...this.#ways.values()]) socket.close();
  }
}
