// The link that brings others here.

import { strings } from '../strings.js';
import { inviteLink, tokenOfPage } from './address.js';
import { note } from './notices.js';

/** @param {string} room */
export async function copyInvite(room) {
  try {
    await navigator.clipboard.writeText(inviteLink(room));
    note(tokenOfPage() ? strings.invite.copiedForToken : strings.invite.copied);
  } catch {
    note(strings.invite.failed);
  }
}
