/** Moves the clock of the role that preloads it, ahead by an hour and back, at each SIGUSR2; timers stay. */
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
