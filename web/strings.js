// Every sentence of the page, in the language of whoever reads it.

import { strings as english } from './strings/en.js';

/** @typedef {typeof english} Strings */

/** @type {Strings} */
export const strings = english;
