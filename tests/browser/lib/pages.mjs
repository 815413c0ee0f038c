// Serves the tests' own pages, those of the documentation, and the web client's modules, from a port
// that is not the server's: so everything the pages ask of the server crosses an origin.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, normalize } from 'node:path';

const ROOTS = {
  '/examples/web/': new URL('../../../web/', import.meta.url),
  '/examples/': new URL('../../../docs/examples/', import.meta.url),
  '/web/': new URL('../../../web/', import.meta.url),
  '/': new URL('../pages/', import.meta.url),
};
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript' };

export class Pages {
  /** `made` are further pages, by their path. */
  static async start(made = {}) {
    const server = createServer((request, response) => answer(made, request, response)).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    return new Pages(server);
  }

  constructor(server) {
    this.server = server;
    this.url = `http://127.0.0.1:${server.address().port}`;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

async function answer(made, request, response) {
  const path = normalize(new URL(request.url, 'http://pages').pathname);
  if (Object.hasOwn(made, path)) {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(made[path]);
    return;
  }
  const prefix = Object.keys(ROOTS).find(prefix => path.startsWith(prefix));
  try {
    const body = await readFile(new URL(path.slice(prefix.length), ROOTS[prefix]));
    response.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}
