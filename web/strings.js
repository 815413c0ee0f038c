// Every sentence of the page, in the language of whoever reads it. A further one is a file in
// strings/ and a line here.

import { strings as english } from './strings/en.js';

/** @typedef {typeof english} Strings */
/** @typedef {'en' | 'de'} Language */

/** @type {Record<Language, {name: string, load: () => Promise<Strings>}>} */
const LANGUAGES = {
  en: { name: 'English', load: async () => english },
  de: { name: 'Deutsch', load: async () => (await import('./strings/de.js')).strings },
};

/** Where a person's choice is kept. */
const KEY = 'plenum-language';

/** The languages there are, by their own names. */
export const languages = Object.entries(LANGUAGES).map(([code, { name }]) => ({ code, name }));

/** The page's language: what the address says, else what was chosen here, else what the browser asks for. */
export const language = chosen();
export const strings = await LANGUAGES[language].load();

if (globalThis.document) document.documentElement.lang = language;

/** @param {string} code */
export function chooseLanguage(code) {
  try {
    localStorage.setItem(KEY, code);
  } catch {
    // Where nothing may be kept, the address below says it.
  }
  const url = new URL(location.href);
  url.searchParams.set('lang', code);
  location.replace(url);
}

/** @returns {Language} */
function chosen() {
  const asked = [ofAddress(), kept(), ...(globalThis.navigator?.languages ?? [])];
  for (const tag of asked) {
    const [code] = (tag ?? '').toLowerCase().split('-');
    if (Object.hasOwn(LANGUAGES, code)) return /** @type {Language} */ (code);
  }
  return 'en';
}

function ofAddress() {
  return new URLSearchParams(globalThis.location?.search).get('lang');
}

function kept() {
  try {
    return globalThis.localStorage?.getItem(KEY) ?? null;
  } catch {
    return null;
  }
}
