import { basename } from 'node:path';
import { answers, type Binding, Candidate, type Provider } from '../image/candidate.js';
import { cycle } from '../image/deployed.js';
import type { Generation } from '../image/generation.js';
import { snapshotMapping } from '../image/mapping.js';
import { SoError } from '../internal/errors.js';
import type { Steps } from '../internal/steps.js';
import type { Companion } from '../swap/together.js';
import { type Partner, type Prepared, prepare, prepareEach } from '../swap/transaction.js';
import { type Company, type PlannedSwap, partnersOf, type Turns } from '../swap/turns.js';

type Handle = Companion['handle'];

/** How the members of a group are bound to each other, now and after a swap. */
export class Bonds implements Company {
  /** In the order in which they were opened. */
  readonly #handles = new Map<Turns, Handle>();

  add(turns: Turns, handle: Handle): void {
    this.#handles.set(turns, handle);
  }

  /** Those that are open. */
  get members(): readonly Turns[] {
    for (const turns of this.#handles.keys()) {
      if (turns.target.current === undefined) this.#handles.delete(turns);
    }
    return [...this.#handles.keys()];
  }

  /** Those that are open, each after those that it needs. */
  get inOrder(): readonly Turns[] {
    return sorted(this.members, (member) => this.#neededBy(member));
  }

  /** These members, those that are bound to them, and those that they need and that have no image. */
  closureOf(some: Iterable<Turns>): readonly Turns[] {
    const all = new Set(some);
    for (const each of all) {
      for (const other of this.members) if (this.#neededBy(other).includes(each)) all.add(other);
      for (const other of this.#neededBy(each)) if (!hasImage(other)) all.add(other);
    }
    return this.inOrder.filter((member) => all.has(member));
  }

  companionsOf(planned: readonly PlannedSwap[]): (PlannedSwap & Companion)[] {
    const asked = planned.filter(({ turns }) => turns.company === this);
    const [first] = asked;
    if (first === undefined) return [];
    const known = new Set(asked.map(({ turns }) => turns));
    return this.closureOf(known)
      .filter((turns) => !known.has(turns))
      .map((turns) => ({
        turns,
        target: turns.target,
        handle: this.#handles.get(turns) as Handle,
        plan: planFor(turns, first),
      }));
  }

  assertClosable(member: Turns): void {
    const users = this.members.filter((other) => this.#neededBy(other).includes(member));
    if (users.length === 0) return;
    const { path } = member.target;
    const names = users.map(({ target }) => `'${target.path}'`).join(', ');
    const message = `cannot close '${path}': ${names} of its group needs it; close that first, or the group`;
    throw new SoError('ERR_SOSWAP_NEEDED', message, path);
  }

  /** How a library is bound that is about to become a member. */
  bindingOf(path: string): Binding {
    const offers = this.members.flatMap((member) => offersOf(member, member.target.current));
    return {
      offered: () => offers,
      check: (candidate) => {
        assertUnambiguous(candidate, offers);
        const names = namesOf(candidate);
        for (const { target } of this.members) {
          const needed = target.running.candidate.links.needed;
          const name = needed.find((each) => names.some((own) => answers(own, each)));
          if (name === undefined) continue;
          throw notBound(
            path,
            `'${target.path}' is open, needs '${name}', and is bound to another`,
          );
        }
      },
    };
  }

  *prepare(planned: readonly PlannedSwap[], began: bigint): Steps<Prepared[]> {
    const own = planned.filter(({ turns }) => turns.company === this);
    const plans = new Map(own.map(({ turns, plan }) => [turns, plan]));
    const partners = (member: Turns) => partnersOf(member, planned);
    let needs = new Map([...plans.keys()].map((member) => [member, this.#neededBy(member)]));
    for (;;) {
      const round = new Round(this.members, plans);
      const order = sorted([...plans.keys()], (member) => needs.get(member) ?? []);
      try {
        return yield* prepareEach(
          order.map((member) => round.prepare(member, began, partners(member))),
        );
      } catch (error) {
        if (!round.outOfOrder) throw error;
      }
      needs = new Map();
      const look = new Round(this.members, plans);
      for (const member of plans.keys()) needs.set(member, yield* look.needsInFile(member));
    }
  }

  #neededBy({ target }: Turns): Turns[] {
    const sources = target.current?.candidate.providers.map(({ candidate }) => candidate.source);
    return [...this.#handles.keys()].filter((other) => sources?.includes(other.target.source));
  }
}

/** One try to prepare swaps of members in an order. */
class Round {
  /** A new file needs a member that comes later. */
  outOfOrder = false;
  readonly #next = new Map<Turns, Generation>();

  constructor(
    readonly members: readonly Turns[],
    readonly plans: ReadonlyMap<Turns, PlannedSwap['plan']>,
  ) {}

  *prepare(member: Turns, began: bigint, partners: readonly Partner[]): Steps<Prepared[]> {
    const plan = this.plans.get(member) as PlannedSwap['plan'];
    if (plan.from === 'history') member.target.earlier.candidate.rebind(this.#offersFor(member));
    const others = { partners, binding: this.#bindingOf(member) };
    const prepared = yield* prepare(member.target, plan, began, others);
    this.#next.set(member, prepared.next);
    return [prepared];
  }

  #bindingOf(member: Turns): Binding {
    let offers: Offer[] = [];
    return {
      offered: () => {
        offers = this.#offersFor(member);
        return offers;
      },
      check: (candidate) => this.#check(member, candidate, offers),
    };
  }

  /** The members that the file of this one needs now. */
  *needsInFile(member: Turns): Steps<Turns[]> {
    const offered = () => this.#offersFor(member);
    const look = yield* Candidate.take(member.target.source, undefined, { offered, check() {} });
    look.release();
    return look.providers.map((provider) => (provider as Offer).member);
  }

  #offersFor(member: Turns): Offer[] {
    const others = this.members.filter((other) => other !== member);
    return others.flatMap((other) => {
      const { source, current } = other.target;
      const namesSoFar = member.target.current?.candidate.providers
        .filter(({ candidate }) => candidate.source === source)
        .map(({ name }) => name);
      return offersOf(other, this.#next.get(other) ?? current, namesSoFar);
    });
  }

  #check(member: Turns, candidate: Candidate, offers: readonly Offer[]): void {
    assertUnambiguous(candidate, offers);
    const needed = candidate.providers as Offer[];
    const late = needed.find((each) => this.plans.has(each.member) && !this.#next.has(each.member));
    if (late !== undefined) {
      this.outOfOrder = true;
      throw notBound(candidate.path, `it needs '${late.candidate.path}', which comes later`);
    }
    for (const { name, candidate: provider, member: other } of needed) {
      const { path } = provider;
      if (!namesOf(provider).some((own) => answers(own, name))) {
        throw notBound(
          candidate.path,
          `it needs '${name}', and the new file '${path}' no longer has that name`,
        );
      }
      const isBeside = this.plans.get(member)?.isBeside === true;
      if (isBeside && this.plans.get(other)?.isBeside === false) {
        throw notBound(
          candidate.path,
          `it is swapped open-first, and '${path}', which it needs, close-first`,
        );
      }
    }
  }
}

/** A member that another one may be bound to, under one name. */
interface Offer extends Provider {
  readonly member: Turns;
}

function offersOf(
  member: Turns,
  generation: Generation | undefined,
  more: readonly string[] = [],
): Offer[] {
  if (generation === undefined) return [];
  const { candidate, image } = generation;
  if (candidate.mapping !== snapshotMapping) return []; // the loader has the only image there is
  const names = new Set([...namesOf(candidate), ...more]);
  return [...names].map((name) => ({ name, candidate, image, member }));
}

/** The names by which others need it: DT_SONAME, the name of its file, and its path. */
function namesOf({ path, links: { soname } }: Candidate): string[] {
  return soname === null ? [basename(path), path] : [soname, basename(path), path];
}

function assertUnambiguous({ path, links }: Candidate, offers: readonly Offer[]): void {
  for (const needed of links.provided) {
    const named = offers.filter(({ name }) => answers(name, needed));
    const [one, other] = new Set(named.map(({ member }) => member.target.path));
    const members = new Set(named.map(({ member }) => member));
    if (members.size === 1) continue;
    throw notBound(
      path,
      `it needs '${needed}', which is the name of two members, '${one}' and '${other ?? one}'`,
    );
  }
}

/** Each after those that it needs. @throws {SoError} `ERR_SOSWAP_DEPENDENCY_CYCLE` */
function sorted(members: readonly Turns[], needs: (member: Turns) => readonly Turns[]): Turns[] {
  const done = new Set<Turns>();
  const path: Turns[] = [];
  const visit = (member: Turns) => {
    if (done.has(member) || !members.includes(member)) return;
    const begin = path.indexOf(member);
    if (begin >= 0) throw cycle([...path.slice(begin), member].map(({ target }) => target.path));
    path.push(member);
    for (const needed of needs(member)) visit(needed);
    path.pop();
    done.add(member);
  };
  for (const member of members) visit(member);
  return [...done];
}

/** The options of a member's swap that another one brings about. */
function planFor({ target }: Turns, { turns, plan }: PlannedSwap): PlannedSwap['plan'] {
  const isOwn = plan.unload === turns.target.source.unload;
  const unload = isOwn ? target.source.unload : plan.unload;
  const isBeside = plan.order === 'open-first';
  return {
    ...plan,
    unload,
    isBeside,
    from: 'file',
    verify: undefined,
    migrate: undefined,
    probation: undefined,
  };
}

function hasImage({ target }: Turns): boolean {
  return target.current?.image.isOpen === true;
}

function notBound(path: string, why: string): SoError {
  const message = `cannot bind '${path}' to the members of its group: ${why}`;
  return new SoError('ERR_SOSWAP_NOT_BOUND', message, path);
}
