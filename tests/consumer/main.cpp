// A stranger's program: links an installed Invar.
#include <iostream>

#include <invar/core/version.hpp>

int main() { std::cout << "consumer of invar " << invar::version() << '\n'; }
