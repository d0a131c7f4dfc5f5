// A plug-in host: whatever lies in a directory is loaded, and follows what happens there.

import { readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { SoGroup } from 'soswap';

const coreFunctions = /** @type {const} */ ({ core_release: { return: 'uint32' } });
const pluginFunctions = /** @type {const} */ ({
  tax: { arguments: ['float64'], return: 'float64' },
  tax_core: { return: 'uint32' },
});

export class PluginHost {
  // Every plug-in is bound to the core that runs. When that is replaced, all are loaded anew against the new one, or none.
  #group = new SoGroup();
  #directory;
  #core;
  /** By the names of their files. @type {Map<string, import('soswap').SoHandle<typeof pluginFunctions>>} */
  #plugins = new Map();
  #files;
  #log;
  /** @type {NodeJS.Timeout | undefined} */
  #soon;

  /**
   * @param {string} directory Where `libcore.so` and the plug-ins lie.
   * @param {(text: string) => void} log
   */
  constructor(directory, log) {
    this.#directory = directory;
    this.#log = log;
    this.#core = this.#group.open(join(directory, 'libcore.so'), coreFunctions);
    this.#report(this.#core);
    this.#group.watch({ swap: { order: 'open-first' } }); // what is replaced
    this.#files = watch(directory, () => this.#scanSoon()); // what comes and goes
    this.#scan();
  }

  get names() {
    return [...this.#plugins.keys()];
  }

  get release() {
    return this.#core.functions.core_release();
  }

  /** Calls one plug-in. */
  tax(/** @type {string} */ name, /** @type {number} */ amount) {
    const plugin = this.#plugins.get(name);
    if (plugin === undefined) throw new Error(`there is no plug-in '${name}'`);
    return { tax: plugin.functions.tax(amount), release: plugin.functions.tax_core() };
  }

  close() {
    clearTimeout(this.#soon);
    this.#files.close();
    this.#group.close();
  }

  #scanSoon() {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#scan(), 50);
  }

  #scan() {
    const present = new Set(
      readdirSync(this.#directory).filter((name) => /^tax-.*\.so$/.test(name)),
    );
    for (const [name, plugin] of this.#plugins) {
      if (!present.has(name)) this.#try(name, () => this.#remove(name, plugin));
    }
    for (const name of present) {
      if (!this.#plugins.has(name)) this.#try(name, () => this.#add(name));
    }
  }

  #add(/** @type {string} */ name) {
    const plugin = this.#group.open(join(this.#directory, name), pluginFunctions);
    this.#plugins.set(name, plugin);
    this.#report(plugin);
    this.#log(`added ${name}`);
  }

  #remove(
    /** @type {string} */ name,
    /** @type {import('soswap').SoHandle<typeof pluginFunctions>} */ plugin,
  ) {
    plugin.close();
    this.#plugins.delete(name);
    this.#log(`removed ${name}`);
  }

  /** One plug-in that cannot be loaded is no reason to stop. */
  #try(/** @type {string} */ name, /** @type {() => void} */ work) {
    try {
      work();
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      // A swap is under way, or somebody is still writing the file.
      if (code === 'ERR_SOSWAP_BUSY' || code === 'ERR_SOSWAP_BEING_WRITTEN') this.#scanSoon();
      else this.#log(`refused ${name}: ${message}`);
    }
  }

  #report(/** @type {import('soswap').SoHandle<any>} */ handle) {
    const name = handle.path.slice(this.#directory.length + 1);
    handle.on('swap', ({ generation }) => this.#log(`${name} runs generation ${generation}`));
    handle.on('refused', ({ message }) => this.#log(`refused ${name}: ${message}`));
  }
}
