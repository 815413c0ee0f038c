// A room full of people at the cost of one tab: they send drawings of themselves and receive nothing.

import { readFile } from 'node:fs/promises';

const PORTRAIT = new URL('./portrait.js', import.meta.url);

/** Names for as many as a page of tiles shows, and more. */
export const NAMES = (
  'Ada Grace Alan Barbara Edsger Radia Donald Frances Tim Hedy Claude Margaret John Katherine Dennis ' +
  'Sophie Niklaus Jean Ken Adele Vint Karen Bjarne Evelyn Linus'
).split(' ');

/** Lets a tab draw people. */
export async function teachToDraw(context) {
  await context.addInitScript(await readFile(PORTRAIT, 'utf8'));
}

export class Crowd {
  /** Opens the tab. `pages` serves the tests' own pages. */
  static async start(chromium, pages) {
    const person = await chromium.person();
    await teachToDraw(person.context);
    await person.open(`${pages.url}/crowd.html`);
    return new Crowd(person);
  }

  constructor(person) {
    this.person = person;
  }

  /** Brings people of these names into a room. */
  join(server, room, names, size = { width: 320, height: 180, fps: 4 }) {
    return this.person.page.evaluate(
      async ([url, room, names, size]) => (await import('/crowd.js')).join(url, room, names, size),
      [server.url, room, names, size],
    );
  }

  /** Lets one of them speak, who has a microphone: each third has none. */
  speak(name) {
    return this.person.page.evaluate(async name => (await import('/crowd.js')).speak(name), name);
  }

  /** Takes all of them out again. */
  leave() {
    return this.person.page.evaluate(async () => (await import('/crowd.js')).leave());
  }
}
