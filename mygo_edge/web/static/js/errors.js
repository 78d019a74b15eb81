/** What a visitor can understand and act on; any other error is a fault of the page. */
export class Refusal extends Error {}

/** Throw a Refusal with this message unless it holds. */
export function require(holds, message) {
  if (!holds) throw new Refusal(message);
}
