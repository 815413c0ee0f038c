// Ports of this machine that nobody uses at the moment.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below those that the kernel gives to whoever connects or names none (32768 and up), so that nobody gets one
 * by chance between here and where it is used, nor while a server is being restarted.
 */
const [LOWEST, HIGHEST] = [20_000, 32_767];

export function freeTcpPort() {
  return freePort(port => createServer().listen(port, '127.0.0.1'));
}

export function freeUdpPort() {
  return freePort(port => {
    const socket = createSocket('udp4');
    socket.bind(port, '127.0.0.1');
    return socket;
  });
}

/** Tries ports, now this, now that, until one can be had. */
async function freePort(open) {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST + 1));
    const socket = open(port);
    try {
      await once(socket, 'listening');
    } catch (error) {
      if (error.code === 'EADDRINUSE') continue;
      throw error;
    }
    socket.close();
    await once(socket, 'close');
    return port;
  }
}
