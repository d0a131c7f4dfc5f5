// What one piece costs. -DBUILD tells the builds apart.

int build(void) { return BUILD; }

double quote(double price, unsigned pieces) { return price * pieces; }
