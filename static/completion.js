/** Completions of the run search: fields, metrics, and values that runs have. No DOM here. */

/**
 * @typedef {object} Vocabulary
 * @property {string[]} fields
 * @property {string[]} metrics
 * @property {string[]} figures summaries of a metric, such as "best"
 * @property {Record<string, string[]>} values by field
 */

const DATE_FIELDS = ["created", "started", "ended"];

/** The term before the cursor; a quoted value in it may contain spaces. */
export function termBefore(/** @type {string} */ text) {
  return /(?:"[^"]*"|[^\s"()])*(?:"[^"]*)?$/.exec(text)?.[0] ?? "";
}

/**
 * The words that contain a text, without regard to case; those that begin with it come first.
 * @param {string[]} words
 * @param {string} text may begin with a quote
 */
export function matchingWords(words, text) {
  const wanted = text.replace(/^"/, "").toLowerCase();
  const first = words.filter((word) => word.toLowerCase().startsWith(wanted));
  return [...first, ...words.filter((word) => !first.includes(word) && word.toLowerCase().includes(wanted))];
}

/**
 * The terms that could replace an incomplete one.
 * @param {string} term such as "-opt", "optimizer:ad" or "val/accuracy.b"
 * @param {Vocabulary} vocabulary
 */
export function completions(term, { fields, figures, metrics, values }) {
  const not = term.startsWith("-") ? "-" : "";
  const positive = term.slice(not.length);
  const assignment = /^([\w./]+)(:|!=)(.*)$/.exec(positive);
  if (assignment) {
    const [, name, operator, list] = assignment;
    const known = name.includes("/") ? ["any", "none"] : (values[name] ?? []);
    const [, before = "", typed = list] = /^(.*,)?(.*)$/.exec(list) ?? [];
    const quote = (/** @type {string} */ value) => (/[\s,()]/.test(value) ? `"${value}"` : value);
    return matchingWords(known, typed).map((value) => `${not}${name}${operator}${before}${quote(value)}`);
  }
  // A comparison takes a number, which has no completion.
  if (/[<>=]/.test(positive)) return [];
  const [, metric, figure] = /^(\S+\/\S+)\.(\w*)$/.exec(positive) ?? [];
  if (metric && metrics.includes(metric)) {
    return matchingWords(figures, figure).map((match) => `${not}${metric}.${match}>`);
  }
  const operatorOf = (/** @type {string} */ name) => (name in values ? ":" : DATE_FIELDS.includes(name) ? ">" : "");
  const fieldTerms = fields.map((name) => name + operatorOf(name));
  const metricTerms = metrics.map((name) => `${name}>`);
  return [...matchingWords(fieldTerms, positive), ...matchingWords(metricTerms, positive)].map((each) => not + each);
}

/** The index after an arrow key in a list of suggestions; -1 is none. From the ends it wraps around. */
export function nextSuggestion(
  /** @type {number} */ index,
  /** @type {"ArrowUp" | "ArrowDown"} */ key,
  /** @type {number} */ count,
) {
  if (key === "ArrowDown") return (index + 1) % count;
  return index <= 0 ? count - 1 : index - 1;
}
