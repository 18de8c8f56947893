// What the page shows: sequences of tokens, one card for each model, the position looked at.

function element(tag, properties = {}, ...children) {
  const { dataset = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

const number = (value) => value.toLocaleString("en-US");
const share = (part, whole) => (whole ? `${part} of ${whole}` : "none");

// A sequence as colored tokens. Its text stands beside it for those who hear the page.
class TokenStrip {
  constructor(tokenizer, length, kind, describe) {
    this.tokenizer = tokenizer;
    this.spans = Array.from({ length }, (_, position) =>
      element("span", { className: "token", dataset: { position } }),
    );
    this.strip = element("div", { className: kind }, ...this.spans);
    this.strip.setAttribute("aria-hidden", "true");
    this.text = element("p", { className: "unseen-text" });
    this.describe = describe;
    this.nodes = [this.strip, this.text];
  }

  // Marks are names of classes, unsureness runs from 0 to 100; both may be missing.
  show(tokens, marks = [], unsureness = []) {
    this.spans.forEach((span, position) => {
      const text = this.tokenizer.show(tokens[position]);
      if (span.textContent !== text) span.textContent = text;
      const selected = span.classList.contains("selected") ? " selected" : "";
      span.className = `token ${marks[position] ?? ""}${selected}`;
      span.style.setProperty("--unsureness", (unsureness[position] ?? 0).toFixed(1));
    });
  }

  // The text that is read out; not at every step, a reader could not follow.
  tell(tokens) {
    this.text.textContent = `${this.describe} ${this.tokenizer.decode(tokens)}`;
  }

  select(position) {
    this.spans.forEach((span, i) => span.classList.toggle("selected", i === position));
  }
}

// A heading, a line below it, a strip.
class SourceCard {
  constructor(page, title) {
    const { tokenizer, length } = page;
    this.heading = element("h3", { textContent: title });
    this.line = element("p", { className: "note" });
    this.strip = new TokenStrip(tokenizer, length, "tokens", "Text:");
    this.node = element("div", { className: "card" }, this.heading, this.line, ...this.strip.nodes);
  }
}

class ModelCard {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    const weights = run.tensors.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b), 0);
    const title = run.n === 1 ? "Trained on 1 sequence" : `Trained on ${number(run.n)} sequences`;
    const line = `${run.corpus}, size ${run.size}, seed ${run.seed}: ${number(weights)} weights.`;
    this.member = element("span");
    this.strip = new TokenStrip(page.tokenizer, page.length, "tokens", "Present text:");
    this.meter = element("div");
    this.facts = element("dl", { className: "facts" });
    this.nearestTitle = element("h4");
    this.nearest = new TokenStrip(page.tokenizer, page.length, "tokens nearest", "It reads:");
    const heading = element("h3", { textContent: title, id: `model-${run.index}` });
    this.node = element(
      "article", { className: "card" }, heading,
      element("p", { className: "note" }, `${line} `, this.member), ...this.strip.nodes,
      element("div", { className: "meter", ariaHidden: "true" }, this.meter), this.facts,
      this.nearestTitle, ...this.nearest.nodes,
    );
    this.node.setAttribute("aria-labelledby", heading.id);
  }

  show(process, clean, start) {
    const { inner, fixed, largestEntropy } = this.page;
    const { tokens, entropies } = process;
    const percent = (nats) => Math.min(100, (100 * nats) / largestEntropy);
    const unsureness = Array.from(entropies, percent);
    this.strip.show(tokens, clean ? marksOf(clean, start, tokens, inner) : fixed, unsureness);
    const mean = inner.reduce((sum, position) => sum + entropies[position], 0) / inner.length;
    const counts = clean && countRecovery(clean, start, tokens, inner);
    this.showFacts(counts, mean);
    this.showNearest(tokens);
    this.counts = counts;
  }

  showFacts(counts, mean) {
    const rows = [["Mean conditional entropy", `${mean.toFixed(2)} nats`]];
    if (counts) {
      const { corrupted, recovered, untouched, changed } = counts;
      rows.unshift(["Recovered tokens", share(recovered, corrupted)]);
      rows.splice(1, 0, ["Untouched tokens changed", share(changed, untouched)]);
      this.meter.style.width = `${corrupted ? (100 * recovered) / corrupted : 0}%`;
    }
    this.meter.parentNode.hidden = !counts;
    const nodes = rows.flatMap(([name, value]) => [
      element("dt", { textContent: name }), element("dd", { textContent: value }),
    ]);
    this.facts.replaceChildren(...nodes);
  }

  showNearest(tokens) {
    const { inner, fixed, searched } = this.page;
    const count = Math.min(this.run.n, searched.count);
    const found = nearestSequence(tokens, inner, searched.sequences, count);
    const marks = found.tokens.map((token, i) => (token === tokens[i] ? fixed[i] : "differs"));
    this.nearest.show(found.tokens, marks);
    const others = found.equal < inner.length ? " (the others are marked)" : "";
    this.nearestTitle.textContent =
      `Nearest training sequence: ${found.equal} of ${inner.length} tokens equal${others}`;
    this.nearestTokens = found.tokens;
  }

  tell(process) {
    this.strip.tell(process.tokens);
    this.nearest.tell(this.nearestTokens);
  }

  // How far it is, in words.
  get summary() {
    if (!this.counts) return "";
    const { corrupted, recovered, changed } = this.counts;
    const name = `n = ${number(this.run.n)}`;
    return ` ${name}: ${share(recovered, corrupted)} recovered, ${changed} changed.`;
  }
}

function marksOf(clean, start, tokens, inner) {
  const marks = clean.map(() => "fixed");
  for (const position of inner) {
    const right = tokens[position] === clean[position];
    const corrupted = start[position] !== clean[position];
    marks[position] = corrupted ? (right ? "recovered" : "wrong") : right ? "" : "overwritten";
  }
  return marks;
}

// The five most probable tokens of a prediction.
function predictionTable(page, run, prediction) {
  const best = Array.from(prediction, (chance, token) => ({ chance, token }));
  best.sort((one, other) => other.chance - one.chance);
  const rows = best.slice(0, 5).map(({ chance, token }) => {
    const bar = element("div");
    bar.style.width = `${100 * chance}%`;
    const name = element("th", { scope: "row", textContent: page.tokenizer.name(token) });
    const cell = element("td", { className: "bar", ariaHidden: "true" }, bar);
    const value = element("td", { textContent: `${(100 * chance).toFixed(1)} %` });
    return element("tr", {}, name, cell, value);
  });
  const caption = element("caption", { textContent: `n = ${number(run.n)}, size ${run.size}` });
  return element("table", {}, caption, element("tbody", {}, ...rows));
}
