/** Requests for the points of curves. */

import { stepParameter } from "./step-axis.js";

const PART_POINTS = 2000;

/**
 * Fetch finer points of an interval of steps of some curves; null if the server does not answer.
 * @param {string} run
 * @param {string[]} names of the curves
 * @param {number} first step
 * @param {number} last step
 * @param {number} weight of the smoothing of noisy curves
 * @returns {Promise<Record<string, import("./curves.js").Part> | null>}
 */
export async function fetchPart(run, names, first, last, weight) {
  const parameters = new URLSearchParams({
    names: names.join(","),
    first: stepParameter(first),
    last: stepParameter(last),
    points: String(PART_POINTS),
    smoothing: weight.toFixed(2),
  });
  const response = await fetch(`/runs/${run}/points/part?${parameters}`).catch(() => null);
  return response?.ok ? (await response.json()).points : null;
}
