/** A wrong command line. The command prints the message in one line on the standard error and exits with code 2. */
export class UsageError extends Error {}
