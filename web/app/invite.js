// The link that brings others here.

import { strings } from '../strings.js';
import { inviteLink } from './address.js';
import { note } from './notices.js';

/** @param {string} room */
export async function copyInvite(room) {
  try {
    await navigator.clipboard.writeText(inviteLink(room));
    note(strings.invite.copied);
  } catch {
    note(strings.invite.failed);
  }
}
