// A raised hand, as it stands in somebody's attributes.

/** @import { Participant } from '../roster.js' */

/** @param {Participant | undefined} participant */
export const isHandUp = participant => participant?.attributes?.hand === true;
