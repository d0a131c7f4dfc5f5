// A load generator: clients that ask again as soon as they are answered, and check what they got.

import { createHistogram, performance } from 'node:perf_hooks';

/** A build, and the time in which it may answer, in milliseconds since the program began. */
export class Build {
  from = performance.now();
  until = Number.POSITIVE_INFINITY;

  constructor(/** @type {number} */ discount) {
    this.discount = discount;
  }
}

export class Load {
  answered = 0;
  /** Requests without an answer, or with another status than 200. */
  failed = 0;
  /** Prices of a build that did not run at any moment between request and answer. */
  wrong = 0;
  /** How often each discount was seen. @type {Map<number, number>} */
  discounts = new Map();
  /** Nanoseconds. */
  latency = createHistogram();

  #url;
  #builds;
  #running = true;
  /** @type {Promise<void>[]} */
  #clients = [];

  /**
   * @param {string} url Where the service is.
   * @param {Build[]} builds All that were deployed so far; the caller goes on adding to it.
   * @param {number} clients How many requests are made at the same time.
   */
  constructor(url, builds, clients) {
    this.#url = url;
    this.#builds = builds;
    for (let number = 0; number < clients; number++) this.#clients.push(this.#client(number));
  }

  /** Resolves when every request has been answered. */
  async stop() {
    this.#running = false;
    await Promise.all(this.#clients);
  }

  async #client(/** @type {number} */ number) {
    // One in eight asks for the slow calculation.
    const path = number % 8 === 0 ? 'simulate' : 'quote';
    for (let count = 1; this.#running; count = (count % 100) + 1) await this.#ask(path, count);
  }

  async #ask(/** @type {string} */ path, /** @type {number} */ count) {
    const base = 100;
    const asked = performance.now();
    try {
      const response = await fetch(`${this.#url}/${path}?base=${base}&count=${count}`);
      const { price } = /** @type {{ price: number }} */ (await response.json());
      if (response.status !== 200) throw new Error(`status ${response.status}`);
      const answered = performance.now();
      this.latency.record(Math.max(1, Math.round((answered - asked) * 1e6)));
      this.answered++;
      this.#check(100 - Math.round((price / base / count) * 100), asked, answered);
    } catch {
      this.failed++;
    }
  }

  #check(
    /** @type {number} */ discount,
    /** @type {number} */ asked,
    /** @type {number} */ answered,
  ) {
    const right = this.#builds.some(
      (build) => build.discount === discount && build.from <= answered && build.until >= asked,
    );
    if (!right) this.wrong++;
    this.discounts.set(discount, (this.discounts.get(discount) ?? 0) + 1);
  }
}
