/** Finer points of what is looked at closely. */

const PART_POINTS = 2000;

/**
 * Those of a part of some curves of a run; null while the server does not answer.
 * @param {string} run
 * @param {string[]} names
 * @param {number} first step
 * @param {number} last step
 * @param {number} weight with which the noisy ones are smoothed
 */
export async function readPart(run, names, first, last, weight) {
  const asked = new URLSearchParams({ names: names.join(","), first: String(first), last: String(last), points: String(PART_POINTS), smoothing: weight.toFixed(2) });
  const answer = await fetch(`/runs/${run}/points/part?${asked}`).catch(() => null);
  return answer?.ok ? (await answer.json()).points : null;
}
