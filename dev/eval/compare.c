static void compare_main(const Command *c) { (void)c; }
static void curves_main(const Command *c) { (void)c; }
