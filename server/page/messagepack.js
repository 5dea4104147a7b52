// MessagePack, as far as the server's messages go: maps with names as keys, lists, text, bytes,
// numbers, true, false and null. A Float32Array becomes a list of single floats.

const LARGEST = 2 ** 32;

class Writer {
  bytes = new Uint8Array(256);
  view = new DataView(this.bytes.buffer);
  length = 0;

  // Makes room for so many bytes and returns where they begin.
  take(count) {
    const start = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return start;
  }

  byte(value) {
    this.raw([value]);
  }

  raw(values) {
    const at = this.take(values.length);
    this.bytes.set(values, at);
  }

  // A count below `below` is part of the byte `base`; others follow the codes for 8 bits (where
  // there is one), 16 and 32.
  head(count, [base, below], codes) {
    if (count < below) return this.byte(base | count);
    if (codes[0] && count < 2 ** 8) return this.raw([codes[0], count]);
    const wide = count >= 2 ** 16;
    this.byte(codes[wide ? 2 : 1]);
    const at = this.take(wide ? 4 : 2);
    if (wide) this.view.setUint32(at, count);
    else this.view.setUint16(at, count);
  }

  number(value) {
    if (Number.isInteger(value) && value >= -32 && value < 128) return this.byte(value & 0xff);
    const whole = Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31;
    this.byte(whole ? 0xd2 : 0xcb);
    const at = this.take(whole ? 4 : 8);
    if (whole) this.view.setInt32(at, value);
    else this.view.setFloat64(at, value);
  }

  floats(values) {
    this.head(values.length, [0x90, 16], [0, 0xdc, 0xdd]);
    let at = this.take(5 * values.length);
    for (const value of values) {
      this.bytes[at] = 0xca;
      this.view.setFloat32(at + 1, value);
      at += 5;
    }
  }

  value(value) {
    if (value === null) this.byte(0xc0);
    else if (typeof value === "boolean") this.byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "string") {
      const text = new TextEncoder().encode(value);
      this.head(text.length, [0xa0, 32], [0xd9, 0xda, 0xdb]);
      this.raw(text);
    } else if (value instanceof Float32Array) this.floats(value);
    else if (value instanceof Uint8Array) {
      this.head(value.length, [0, 0], [0xc4, 0xc5, 0xc6]);
      this.raw(value);
    } else if (Array.isArray(value)) {
      this.head(value.length, [0x90, 16], [0, 0xdc, 0xdd]);
      value.forEach((item) => this.value(item));
    } else {
      const entries = Object.entries(value);
      this.head(entries.length, [0x80, 16], [0, 0xde, 0xdf]);
      for (const [name, item] of entries) {
        this.value(name);
        this.value(item);
      }
    }
  }
}

class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  unsigned(size) {
    const at = this.at;
    this.at += size;
    if (size === 8) return this.view.getUint32(at) * LARGEST + this.view.getUint32(at + 4);
    if (size === 4) return this.view.getUint32(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint8(at);
  }

  signed(size) {
    const at = this.at;
    this.at += size;
    if (size === 8) return this.view.getInt32(at) * LARGEST + this.view.getUint32(at + 4);
    if (size === 4) return this.view.getInt32(at);
    return size === 2 ? this.view.getInt16(at) : this.view.getInt8(at);
  }

  float(size) {
    const at = this.at;
    this.at += size;
    return size === 4 ? this.view.getFloat32(at) : this.view.getFloat64(at);
  }

  slice(count) {
    const part = this.bytes.subarray(this.at, this.at + count);
    if (part.length < count) throw new RangeError("the message ends too early");
    this.at += count;
    return part;
  }

  text(count) {
    return new TextDecoder().decode(this.slice(count));
  }

  list(count) {
    const found = [];
    for (let i = 0; i < count; i++) found.push(this.value());
    return found;
  }

  map(count) {
    const found = {};
    for (let i = 0; i < count; i++) {
      const name = this.value();
      found[name] = this.value();
    }
    return found;
  }

  value() {
    const code = this.unsigned(1);
    if (code < 0x80) return code;
    if (code < 0x90) return this.map(code & 0x0f);
    if (code < 0xa0) return this.list(code & 0x0f);
    if (code < 0xc0) return this.text(code & 0x1f);
    if (code >= 0xe0) return code - 256;
    if (code >= 0xcc && code <= 0xcf) return this.unsigned(2 ** (code - 0xcc));
    if (code >= 0xd0 && code <= 0xd3) return this.signed(2 ** (code - 0xd0));
    if (code >= 0xc4 && code <= 0xc6) return this.slice(this.unsigned(2 ** (code - 0xc4)));
    if (code >= 0xd9 && code <= 0xdb) return this.text(this.unsigned(2 ** (code - 0xd9)));
    if (code === 0xdc || code === 0xdd) return this.list(this.unsigned(code === 0xdc ? 2 : 4));
    if (code === 0xde || code === 0xdf) return this.map(this.unsigned(code === 0xde ? 2 : 4));
    if (code === 0xca || code === 0xcb) return this.float(code === 0xca ? 4 : 8);
    if (code === 0xc2 || code === 0xc3) return code === 0xc3;
    if (code === 0xc0) return null;
    throw new RangeError(`0x${code.toString(16)} is no type of MessagePack that is known here`);
  }
}

// The bytes of a value.
export function pack(value) {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes.slice(0, writer.length);
}

// The value in an ArrayBuffer or Uint8Array; throws RangeError if it is damaged.
export function unpack(message) {
  return new Reader(message instanceof Uint8Array ? message : new Uint8Array(message)).value();
}
