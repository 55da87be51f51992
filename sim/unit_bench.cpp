// Runs a unit on the operands of vectors.txt, one after another, and compares its results with those there.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "unit.inc"
#include "verilated.h"

// Hexadecimal digits into a port of any width.
template <typename T> void put(T &port, const std::string &digits) {
    const size_t n = digits.size();
    if constexpr (std::is_integral_v<T>) {
        port = static_cast<T>(std::stoull(digits, nullptr, 16));
    } else {
        for (size_t word = 0; word < sizeof(T) / 4; word++) {
            const size_t end = n > 8 * word ? n - 8 * word : 0, start = end > 8 ? end - 8 : 0;
            port[word] = end ? std::stoul(digits.substr(start, end - start), nullptr, 16) : 0;
        }
    }
}

// A port of any width as so many hexadecimal digits.
template <typename T> std::string get(const T &port, size_t n) {
    std::string all;
    char text[20];
    if constexpr (std::is_integral_v<T>) {
        std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(port));
        all = text;
    } else {
        for (size_t word = sizeof(T) / 4; word-- > 0;) {
            std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(port[word]));
            all += text;
        }
    }
    return all.size() > n ? all.substr(all.size() - n) : all;
}

int main() {
    std::ifstream file("vectors.txt");
    std::vector<std::vector<std::string>> rows;
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        rows.emplace_back();
        for (std::string field; fields >> field;) rows.back().push_back(field);
    }
    if (rows.empty()) {
        std::cerr << "vectors.txt: no vectors\n";
        return 1;
    }
    VerilatedContext context;
    Vtop top{&context};
    size_t wrong = 0, compared = 0;
    for (size_t cycle = 0; cycle < rows.size() + LATENCY; cycle++) {
        const auto &given = rows[cycle < rows.size() ? cycle : rows.size() - 1];
        size_t column = 0;
#define PORT(name) put(top.name, given[column++]);
        OPERANDS
#if CLOCKED
        top.i_ce = 1;
        top.rst = 0;
        top.clk = 0;
#endif
        top.eval();
        if (cycle >= LATENCY) {
            const auto &row = rows[cycle - LATENCY];
            const auto found = get(top.o, row.back().size());
            compared++;
            if (found != row.back() && wrong++ < 10)
                std::cerr << "vector " << cycle - LATENCY << ": " << found << ", not " << row.back() << "\n";
        }
#if CLOCKED
        top.clk = 1;
        top.eval();
#endif
    }
    top.final();
    if (wrong) {
        std::cerr << wrong << " of " << compared << " results differ\n";
        return 1;
    }
    std::cout << compared << " results equal the golden model's\n";
}
