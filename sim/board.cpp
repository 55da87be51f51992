// A simulated board whose serial line is a pseudo-terminal: it prints the terminal's name and runs until
// standard input ends. Arguments: cycles per bit, a seed, and faults per million bytes on the line.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <random>
#include <termios.h>
#include <unistd.h>

#include "Vboard.h"
#include "verilated.h"

static const int CYCLES = 4000;  // between two looks at the terminal
static const int TRUNCATED = 24; // bytes that a cut takes away

// Bytes that are changed, lost, added or cut off at random.
struct Noise {
    std::mt19937 random;
    uint32_t rate;
    int cut = 0;
    void pass(uint8_t byte, std::deque<uint8_t> &to) {
        if (cut) {
            --cut;
            return;
        }
        if (!rate || random() % 1000000 >= rate) {
            to.push_back(byte);
            return;
        }
        switch (random() % 4) {
        case 0: to.push_back(byte ^ (1u << random() % 8)); break;
        case 1: break;
        case 2: to.push_back(byte); to.push_back(static_cast<uint8_t>(random())); break;
        default: cut = static_cast<int>(random() % TRUNCATED); break;
        }
    }
};

// Drives a line with the bytes that wait, and reads bytes from a line.
struct Sender {
    std::deque<uint8_t> waiting;
    uint32_t bits = 1;
    int left = 0, timer = 0;
    int step(int divisor) {
        if (left == 0 && !waiting.empty()) {
            bits = (1u << 8 | waiting.front()) << 1;
            waiting.pop_front();
            left = 10;
            timer = divisor;
        }
        if (left == 0) return 1;
        int line = bits & 1;
        if (--timer == 0) {
            bits >>= 1;
            timer = divisor;
            --left;
        }
        return line;
    }
    bool idle() const { return left == 0 && waiting.empty(); }
};

struct Receiver {
    uint32_t bits = 0;
    int left = 0, timer = 0;
    // A byte, or -1.
    int step(int line, int divisor) {
        if (left == 0) {
            if (line) return -1;
            left = 10;
            timer = divisor / 2;
        }
        if (--timer > 0) return -1;
        timer = divisor;
        bits = bits >> 1 | static_cast<uint32_t>(line) << 9;
        if (--left) return -1;
        return bits >> 1 & 0xff;
    }
};

static bool ready(int file, int milliseconds) {
    pollfd asked{file, POLLIN, 0};
    return poll(&asked, 1, milliseconds) > 0 && (asked.revents & (POLLIN | POLLHUP));
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    const int divisor = atoi(arguments[1]);
    const uint32_t seed = static_cast<uint32_t>(atoi(arguments[2]));
    const uint32_t rate = static_cast<uint32_t>(atoi(arguments[3]));
    Noise inward{std::mt19937(seed), rate}, outward{std::mt19937(seed + 1), rate};
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) return 3;
    const int other = open(ptsname(terminal), O_RDWR | O_NOCTTY); // keeps it open, and raw
    termios mode;
    if (other < 0 || tcgetattr(other, &mode)) return 3;
    cfmakeraw(&mode);
    tcsetattr(other, TCSANOW, &mode);
    Vboard board;
    Sender to;
    Receiver from;
    std::deque<uint8_t> out;
    for (bool started = false; !ready(STDIN_FILENO, 0);) {
        const bool idle = to.idle() && from.left == 0;
        if (ready(terminal, idle ? 1 : 0)) {
            uint8_t data[4096];
            const ssize_t size = read(terminal, data, sizeof data);
            for (ssize_t k = 0; k < size; ++k) inward.pass(data[k], to.waiting);
        }
        for (int k = 0; k < CYCLES; ++k) {
            board.rx = to.step(divisor);
            board.clk = 0;
            board.eval();
            board.clk = 1;
            board.eval();
            const int byte = from.step(board.tx, divisor);
            if (byte >= 0) outward.pass(static_cast<uint8_t>(byte), out);
        }
        if (!started) printf("%s\n", ptsname(terminal));
        started = !fflush(stdout);
        while (!out.empty() && write(terminal, &out.front(), 1) == 1) out.pop_front();
    }
    return 0;
}
