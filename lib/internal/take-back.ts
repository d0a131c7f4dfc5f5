/** What takes the steps of some work back, the first step first. */
export type TakeBack = (() => void)[];

/** Takes all of it back, the last step first. Whatever one of them throws, the others run too. */
export function takeBackAll(takeBack: TakeBack): void {
  for (const undo of takeBack.splice(0).reverse()) {
    try {
      undo();
    } catch {} // the work throws what made it fail
  }
}
