// The front page alone: whoever opens it needs nothing of meetings yet.

import { showHome } from './home.js';

showHome(/** @type {HTMLElement} */ (document.getElementById('app')));
