"use strict";
// The diffusion transformer of uddm_lib/model.py: noisy tokens and their noise level in, logits of
// the clean tokens out. Weights are in single precision, all else is in double: JavaScript's own.

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// The sign, five bits of exponent and ten of fraction. Not every browser has a Float16Array.
function floatOfHalf(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function floatsOfHalves(bytes) {
  const table = Float32Array.from({ length: 65536 }, (_, half) => floatOfHalf(half));
  const floats = new Float32Array(bytes.length / 2);
  for (let i = 0; i < floats.length; i++) floats[i] = table[bytes[2 * i] | (bytes[2 * i + 1] << 8)];
  return floats;
}

// y = x W^T + bias, for `rows` rows. Four rows and two outputs at a time: each number that is read
// serves several products, which is what makes a step fast enough to watch.
function linear(y, x, layer, rows) {
  const { weight, bias, inputs, outputs } = layer;
  const pairs = outputs - (outputs % 2);
  const fours = rows - (rows % 4);
  for (let r = 0; r < fours; r += 4) {
    for (let o = 0; o < pairs; o += 2) fourByTwo(y, x, weight, bias, r, o, inputs, outputs);
    if (pairs < outputs) {
      for (let k = 0; k < 4; k++) oneByOne(y, x, weight, bias, r + k, pairs, inputs, outputs);
    }
  }
  for (let r = fours; r < rows; r++) {
    for (let o = 0; o < outputs; o++) oneByOne(y, x, weight, bias, r, o, inputs, outputs);
  }
}

function fourByTwo(y, x, weight, bias, row, output, inputs, outputs) {
  const x0 = row * inputs, x1 = x0 + inputs, x2 = x1 + inputs, x3 = x2 + inputs;
  const w0 = output * inputs, w1 = w0 + inputs;
  const b0 = bias ? bias[output] : 0, b1 = bias ? bias[output + 1] : 0;
  let s00 = b0, s10 = b0, s20 = b0, s30 = b0, s01 = b1, s11 = b1, s21 = b1, s31 = b1;
  for (let i = 0; i < inputs; i++) {
    const u = weight[w0 + i], v = weight[w1 + i];
    const a = x[x0 + i], b = x[x1 + i], c = x[x2 + i], d = x[x3 + i];
    s00 += a * u; s01 += a * v;
    s10 += b * u; s11 += b * v;
    s20 += c * u; s21 += c * v;
    s30 += d * u; s31 += d * v;
  }
  const y0 = row * outputs + output, y1 = y0 + outputs, y2 = y1 + outputs, y3 = y2 + outputs;
  y[y0] = s00; y[y0 + 1] = s01;
  y[y1] = s10; y[y1 + 1] = s11;
  y[y2] = s20; y[y2 + 1] = s21;
  y[y3] = s30; y[y3 + 1] = s31;
}

function oneByOne(y, x, weight, bias, row, output, inputs, outputs) {
  let sum = bias ? bias[output] : 0;
  for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * weight[output * inputs + i];
  y[row * outputs + output] = sum;
}

// LayerNorm without bias, then scaled and shifted by the noise level.
function modulatedNorm(y, h, weight, modulation, shiftAt, scaleAt, rows) {
  const size = weight.length;
  for (let r = 0; r < rows; r++) {
    const row = r * size;
    let mean = 0, variance = 0;
    for (let i = 0; i < size; i++) mean += h[row + i];
    mean /= size;
    for (let i = 0; i < size; i++) variance += (h[row + i] - mean) ** 2;
    const factor = 1 / Math.sqrt(variance / size + 1e-5);
    for (let i = 0; i < size; i++) {
      const normal = (h[row + i] - mean) * factor * weight[i];
      y[row + i] = normal * (1 + modulation[scaleAt + i]) + modulation[shiftAt + i];
    }
  }
}

// h + gate * change
function addGated(h, change, modulation, gateAt, size) {
  for (let i = 0; i < h.length; i++) h[i] += modulation[gateAt + (i % size)] * change[i];
}

// GELU in its tanh form: x times the sigmoid of twice the tanh's argument.
function gelu(h) {
  const scale = -Math.sqrt(8 / Math.PI);
  for (let i = 0; i < h.length; i++) {
    const x = h[i];
    h[i] = x / (1 + Math.exp(scale * (x + 0.044715 * x * x * x)));
  }
}

function silu(h) {
  for (let i = 0; i < h.length; i++) h[i] /= 1 + Math.exp(-h[i]);
}

class Network {
  // `weights` holds all tensors one after the other, `tensors` their names and shapes, in order.
  constructor(config, tensors, weights) {
    this.config = config;
    this.tensors = {};
    let offset = 0;
    for (const [name, shape] of tensors) {
      const count = shape.reduce((product, side) => product * side, 1);
      this.tensors[name] = { shape, values: weights.subarray(offset, offset + count) };
      offset += count;
    }
    this.blocks = Array.from({ length: config.n_blocks }, (_, i) => this.block(`blocks.${i}.`));
    this.sigmaLayers = [this.layer("sigma_map.mlp.0"), this.layer("sigma_map.mlp.2")];
    this.modulation = this.layer("modulation");
    this.head = this.layer("head");
    this.embedding = this.values("vocab_embed.weight");
    this.norm = this.values("norm.weight");
    this.rotary = rotaryTables(config.length, config.hidden_size / config.n_heads);
    this.allocate();
  }

  values(name) {
    return this.tensors[name].values;
  }

  layer(name) {
    const { shape: [outputs, inputs], values: weight } = this.tensors[`${name}.weight`];
    const bias = this.tensors[`${name}.bias`]?.values ?? null;
    return { weight, bias, inputs, outputs };
  }

  block(name) {
    const layers = Object.fromEntries(
      ["qkv", "out", "mlp.0", "mlp.2", "modulation"].map((part) => [part, this.layer(name + part)]),
    );
    const norms = [this.values(`${name}norm1.weight`), this.values(`${name}norm2.weight`)];
    return { ...layers, norms };
  }

  // Memory that every call uses again.
  allocate() {
    const { length, hidden_size: size, mlp_ratio: ratio, cond_dim: condition } = this.config;
    const array = (count) => new Float64Array(count);
    this.h = array(length * size);
    this.normal = array(length * size);
    this.change = array(length * size);
    this.attended = array(length * size);
    this.qkv = array(length * 3 * size);
    this.inner = array(length * ratio * size);
    const width = length * (size / this.config.n_heads);
    this.ofHead = { query: array(width), key: array(width), value: array(width),
      scores: array(length * length), taken: array(width) };
    this.features = array(this.config.frequency_embedding_size);
    this.condition = [array(condition), array(condition)];
    this.modulations = [array(6 * size), array(2 * size)];
  }

  // Logits of the clean tokens, (length, vocab_size), at the noise level sigma = -log alpha_t.
  logits(tokens, sigma) {
    const { length, hidden_size: size, vocab_size: vocabulary } = this.config;
    const h = this.h;
    for (let p = 0; p < length; p++) {
      h.set(this.embedding.subarray(tokens[p] * size, (tokens[p] + 1) * size), p * size);
    }
    const condition = this.embedSigma(this.config.time_conditioning ? sigma : 0);
    for (const block of this.blocks) this.passBlock(block, condition);
    const [, modulation] = this.modulations;
    linear(modulation, condition, this.modulation, 1);
    modulatedNorm(this.normal, h, this.norm, modulation, 0, size, length);
    const logits = new Float64Array(length * vocabulary);
    linear(logits, this.normal, this.head, length);
    return logits;
  }

  // Sinusoids of geometric frequencies, then a small network, then silu.
  embedSigma(sigma) {
    const half = this.features.length / 2;
    const level = Math.fround(sigma);
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(level * Math.fround(Math.exp((-Math.log(10000) / half) * i)));
      this.features[i] = Math.cos(angle);
      this.features[half + i] = Math.sin(angle);
    }
    const [first, second] = this.condition;
    linear(first, this.features, this.sigmaLayers[0], 1);
    silu(first);
    linear(second, first, this.sigmaLayers[1], 1);
    silu(second);
    return second;
  }

  passBlock(block, condition) {
    const { length, hidden_size: size } = this.config;
    const [modulation] = this.modulations;
    linear(modulation, condition, block.modulation, 1);
    modulatedNorm(this.normal, this.h, block.norms[0], modulation, 0, size, length);
    linear(this.qkv, this.normal, block.qkv, length);
    this.attend();
    linear(this.change, this.attended, block.out, length);
    addGated(this.h, this.change, modulation, 2 * size, size);
    modulatedNorm(this.normal, this.h, block.norms[1], modulation, 3 * size, 4 * size, length);
    linear(this.inner, this.normal, block["mlp.0"], length);
    gelu(this.inner);
    linear(this.change, this.inner, block["mlp.2"], length);
    addGated(this.h, this.change, modulation, 5 * size, size);
  }

  // Attention, a head at a time: both its products are those of a linear layer.
  attend() {
    const { length, hidden_size: size, n_heads: heads } = this.config;
    const { query, key, value, scores, taken } = this.ofHead;
    const width = size / heads;
    const products = { weight: key, bias: null, inputs: width, outputs: length };
    const mixture = { weight: value, bias: null, inputs: length, outputs: width };
    for (let head = 0; head < heads; head++) {
      this.rotate(query, head * width, width, 1 / Math.sqrt(width));
      this.rotate(key, size + head * width, width, 1);
      this.transposeValues(2 * size + head * width, width);
      linear(scores, query, products, length);
      softmaxRows(scores, length);
      linear(taken, scores, mixture, length);
      for (let p = 0; p < length; p++) {
        this.attended.set(taken.subarray(p * width, (p + 1) * width), p * size + head * width);
      }
    }
  }

  // Queries or keys of a head, from the column `at` on: pairs (i, i + width / 2) are rotated by the
  // angle of their position, and scaled.
  rotate(target, at, width, scale) {
    const { qkv, rotary: { cosines, sines } } = this;
    const { length, hidden_size: size } = this.config;
    const half = width / 2;
    for (let p = 0; p < length; p++) {
      for (let i = 0; i < half; i++) {
        const a = qkv[p * 3 * size + at + i], b = qkv[p * 3 * size + at + half + i];
        const cosine = cosines[p * half + i] * scale, sine = sines[p * half + i] * scale;
        target[p * width + i] = a * cosine - b * sine;
        target[p * width + half + i] = a * sine + b * cosine;
      }
    }
  }

  transposeValues(at, width) {
    const { qkv, ofHead: { value } } = this;
    const { length, hidden_size: size } = this.config;
    for (let p = 0; p < length; p++) {
      for (let i = 0; i < width; i++) value[i * length + p] = qkv[p * 3 * size + at + i];
    }
  }
}

function softmaxRows(scores, size) {
  for (let start = 0; start < scores.length; start += size) {
    let largest = -Infinity, total = 0;
    for (let i = start; i < start + size; i++) if (scores[i] > largest) largest = scores[i];
    for (let i = start; i < start + size; i++) {
      const weight = Math.exp(scores[i] - largest);
      scores[i] = weight;
      total += weight;
    }
    for (let i = start; i < start + size; i++) scores[i] /= total;
  }
}

// PyTorch rounds these angles to single precision, and so does this.
function rotaryTables(length, size) {
  const half = size / 2;
  const frequency = (pair) => Math.fround(10000 ** ((-2 * pair) / size));
  const angle = (_, i) => Math.fround(Math.floor(i / half) * frequency(i % half));
  const angles = Array.from({ length: length * half }, angle);
  const table = (wave) => Float32Array.from(angles, (value) => wave(value));
  return { cosines: table(Math.cos), sines: table(Math.sin) };
}
