/* Change this while dev.js runs, and save. */
double quote(double base, unsigned count) { return base * count; }
