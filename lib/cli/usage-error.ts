/** The command line is wrong: one line on the standard error, and exit code 2. */
export class UsageError extends Error {}
