// Some people, each with a browser of their own, and a server for them.

import assert from 'node:assert/strict';

import { Chromium } from './chromium.mjs';
import { Server } from './server.mjs';

export class Gathering {
  /** @type {Record<string, import('./chromium.mjs').Person>} by name */
  people = {};

  /** Starts a server (`options` are further arguments of its) and a browser for each name. */
  static async of(names, options = []) {
    const gathering = new Gathering();
    try {
      gathering.chromium = await Chromium.start();
      gathering.server = await Server.start(options);
      for (const name of names) gathering.people[name] = await gathering.chromium.person();
    } catch (error) {
      await gathering.#stop();
      throw error;
    }
    return gathering;
  }

  /** Ends it all; no page may have had errors, and the server must end well. */
  async end() {
    const end = await this.#stop();
    for (const [name, { log }] of Object.entries(this.people)) {
      const uncaught = log.filter(line => line.startsWith('uncaught'));
      assert.deepEqual(uncaught, [], `${name}'s page had errors`);
    }
    assert.ok(!/panicked/.test(this.server.log), this.server.lastWords);
    assert.equal(end?.code, 0, this.server.lastWords);
  }

  async #stop() {
    await this.chromium?.stop();
    return this.server?.stop();
  }
}
