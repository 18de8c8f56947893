// The reverse process of uddm_lib/sampling.py: the log-linear schedule, its grid of times, the
// ancestral step from the leave-one-out prediction, and the noise-removal step at the end.

const T_END = 1e-5;

// Random numbers that a seed determines (the generator sfc32), the same in every browser.
class Random {
  constructor(seed) {
    this.state = [0, seed >>> 0, 0x9e3779b9, 1];
    for (let i = 0; i < 16; i++) this.bits();
  }

  bits() {
    let [a, b, c, counter] = this.state;
    const sum = (a + b + counter) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    this.state = [a, b, c, (counter + 1) | 0];
    return sum >>> 0;
  }

  // In [0, 1), with 53 bits.
  uniform() {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  below(count) {
    return Math.floor(this.uniform() * count);
  }
}

class LogLinearSchedule {
  constructor(eps) {
    this.eps = eps;
  }

  oneMinusAlpha(t) {
    return (1 - this.eps) * t;
  }

  alpha(t) {
    return 1 - this.oneMinusAlpha(t);
  }

  sigma(t) {
    return -Math.log1p(-this.oneMinusAlpha(t));
  }
}

// Times from the one nearest to `start` down to 1e-5, on a grid of `steps` intervals over (0, 1].
function timeGrid(steps, start) {
  const times = Array.from({ length: steps + 1 }, (_, i) => 1 + (i / steps) * (T_END - 1));
  let nearest = 0;
  times.forEach((time, i) => {
    if (Math.abs(time - start) < Math.abs(times[nearest] - start)) nearest = i;
  });
  return times.slice(nearest);
}

// Weights of the three ways in which a step chooses a token: it stays with the weight
// keep + V alphaT p[z], is drawn from p with `draw`, and from all tokens alike with `uniform`.
function reverseWeights(alphaS, alphaT) {
  const draw = alphaS - alphaT;
  return {
    keep: (alphaT / alphaS) * (1 - alphaS),
    draw,
    uniform: (draw / alphaS) * (1 - alphaS),
    alphaT,
  };
}

// Probabilities of one position: the softmax of its logits.
function probabilities(logits, position, vocabulary) {
  const p = new Float64Array(vocabulary);
  const row = position * vocabulary;
  let largest = -Infinity, total = 0;
  for (let v = 0; v < vocabulary; v++) largest = Math.max(largest, logits[row + v]);
  for (let v = 0; v < vocabulary; v++) total += p[v] = Math.exp(logits[row + v] - largest);
  for (let v = 0; v < vocabulary; v++) p[v] /= total;
  return p;
}

// Conditional entropy, in nats.
function entropyOf(p) {
  let sum = 0;
  for (const chance of p) if (chance > 0) sum -= chance * Math.log(chance);
  return sum;
}

function modeOf(p) {
  let best = 0;
  for (let v = 1; v < p.length; v++) if (p[v] > p[best]) best = v;
  return best;
}

// The token that follows z, by one uniform draw u in [0, 1).
function nextToken(p, z, weights, u) {
  const { keep, draw, uniform, alphaT } = weights;
  const stay = keep + p.length * alphaT * p[z];
  const excess = u * (stay + draw + uniform) - stay;
  if (excess < 0) return z;
  if (excess >= draw) {
    return Math.min(p.length - 1, Math.floor(((excess - draw) / uniform) * p.length));
  }
  let reached = 0;
  for (let v = 0; v < p.length; v++) {
    reached += p[v] * draw;
    if (excess < reached) return v;
  }
  return modeOf(p); // rounding left the sum just below one
}

// Which inner tokens to replace at time t. A token that is hit at one t is hit at every later one.
function corrupt(tokens, inner, oneMinusAlpha, vocabulary, seed) {
  const random = new Random(seed);
  const noisy = tokens.slice();
  for (const position of inner) {
    const u = random.uniform();
    const noise = random.below(vocabulary);
    if (u < oneMinusAlpha) noisy[position] = noise;
  }
  return noisy;
}

// One model's way from noisy tokens to clean ones. Positions outside of `inner` never change.
class ReverseProcess {
  constructor(network, start, inner, { schedule, steps, startTime, seed, greedyEnd }) {
    Object.assign(this, { network, inner, schedule, greedyEnd });
    this.tokens = start.slice();
    this.times = timeGrid(steps, startTime);
    this.random = new Random(seed);
    this.done = 0;
    this.predict();
  }

  get length() {
    return this.times.length;
  }

  get isOver() {
    return this.done === this.length;
  }

  // The present time; 0 at the clean end.
  get time() {
    return this.isOver ? 0 : this.times[this.done];
  }

  // The prediction at the present state: what the next step needs, and its entropies. At the clean
  // end it is that at t = 1e-5, as in probes.conditional_entropy.
  predict() {
    const vocabulary = this.network.config.vocab_size;
    const logits = this.network.logits(this.tokens, this.schedule.sigma(this.time || T_END));
    this.predictions = this.tokens.map(() => null);
    this.entropies = new Float64Array(this.tokens.length);
    for (const position of this.inner) {
      const p = probabilities(logits, position, vocabulary);
      this.predictions[position] = p;
      this.entropies[position] = entropyOf(p);
    }
  }

  step() {
    if (this.isOver) return;
    const isLast = this.done === this.length - 1;
    const next = isLast ? 1 : this.schedule.alpha(this.times[this.done + 1]);
    const weights = reverseWeights(next, this.schedule.alpha(this.time));
    for (const position of this.inner) {
      const p = this.predictions[position];
      const u = this.random.uniform();
      const drawn = nextToken(p, this.tokens[position], weights, u);
      this.tokens[position] = isLast && this.greedyEnd ? modeOf(p) : drawn;
    }
    this.done += 1;
    this.predict();
  }
}

// The stored sequence with the most equal tokens at `inner`, among the first `count`.
function nearestSequence(tokens, inner, sequences, count) {
  let best = { index: 0, equal: -1 };
  for (let index = 0; index < count; index++) {
    const row = index * tokens.length;
    let equal = 0;
    for (const position of inner) equal += sequences[row + position] === tokens[position];
    if (equal > best.equal) best = { index, equal };
  }
  const start = best.index * tokens.length;
  const nearest = sequences.subarray(start, start + tokens.length);
  return { equal: best.equal, tokens: Array.from(nearest) };
}

// Counts against the clean tokens, as in metrics.recovery_rates.
function countRecovery(clean, start, tokens, inner) {
  const counts = { corrupted: 0, recovered: 0, untouched: 0, changed: 0 };
  for (const position of inner) {
    const right = tokens[position] === clean[position];
    if (start[position] !== clean[position]) {
      counts.corrupted += 1;
      counts.recovered += right;
    } else {
      counts.untouched += 1;
      counts.changed += !right;
    }
  }
  return counts;
}
