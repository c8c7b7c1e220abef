/** Preloaded into a role, moves its clock by an hour at each SIGUSR2, ahead and back: `Date`, not the timers. */
const HOUR_MS = 3_600_000;
const RealDate = Date;
let shiftMs = 0;

process.on("SIGUSR2", () => {
  shiftMs = HOUR_MS - shiftMs;
});

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...args);
  }

  static now() {
    return RealDate.now() + shiftMs;
  }
};
