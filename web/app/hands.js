// A raised hand, as it stands in somebody's attributes.

/** @import { Participant } from '../roster.js' */

/** What is told to the others. */
export const RAISED = { hand: true };

/** @param {Participant | undefined} participant */
export const isHandUp = participant => participant?.attributes?.hand === true;
