// Counts what happens in a netlist of gates: transitions by cause and state, and time in states.
//
// A gate's state is a number: bit k is input k's value, and a flip-flop's highest bit what it holds (its clock
// input's bit is kept apart). Without a period every net changes at most once a cycle, in order of rank; with
// one, changes take the gates' delays, and a pulse shorter than a gate's delay ends there.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Mirrored by ctypes in hwgen/engines/gates.py.
struct Gates {
  int64_t gates, nets;
  const int32_t *kind, *rank;                // (gates,)
  const int32_t *in_at, *ins;                // (gates + 1,), nets
  const int32_t *out_at, *outs;              // (gates + 1,), nets
  const int32_t *bits, *clock;               // of each kind: bits of its state, the clock's input or -1
  const int64_t *table_at;                   // of each kind, in tables:
  const uint8_t *tables;                     // (outputs + 1, states): of outputs, and what a flip-flop will hold
  const int32_t *delays;                     // ps: of each gate (outputs, inputs, falling and rising)
};

struct Job {
  int64_t cycles, warm;                      // the first `warm` cycles are not counted
  int64_t period;                            // ps, or 0
  int64_t inputs, outputs;                   // bits of ports
  int64_t streams;                           // inputs whose next row waits until a net is 1
  const int32_t *ready_nets, *stream_of;     // (streams,), and of each input its stream, or -1
  const int32_t *input_nets, *output_nets;
  const uint8_t *given;                      // (cycles, inputs)
  uint8_t *got;                              // (cycles, outputs), at the end of each cycle
  int64_t *toggles;                          // (nets,)
  int64_t *pins;                             // of each gate (inputs, states): input changed, state then
  int64_t *causes;                           // of each gate (outputs, inputs, states): output changed, why
  int64_t *times;                            // of each gate (states,): cycles, of flip-flops half cycles
};

class Simulation {
 public:
  Simulation(const Gates &gates, Job &job)
      : g(gates), job(job), value(g.nets), state(g.gates), last(g.gates), marked(g.gates), rises(g.gates),
        falls(g.gates), pin_at(g.gates), cause_at(g.gates), time_at(g.gates), delay_at(g.gates), pending(g.nets),
        serial(g.nets), cause(g.nets), fan_at(g.nets + 1), taken(job.streams) {
    int64_t pin = 0, reason = 0, time = 0, delay = 0, ranks = 0;
    for (int64_t k = 0; k < g.gates; k++) {
      const int64_t in = inputs(k), out = outputs(k), states = int64_t(1) << g.bits[g.kind[k]];
      pin_at[k] = pin, cause_at[k] = reason, time_at[k] = time, delay_at[k] = delay;
      pin += in * states, reason += out * in * states, time += states, delay += 2 * out * in;
      if (g.rank[k] >= ranks) ranks = g.rank[k] + 1;
      for (int64_t p = 0; p < in; p++) fan_at[net(k, p) + 1]++;
    }
    sizes[0] = pin, sizes[1] = reason, sizes[2] = time;
    for (int64_t n = 0; n < g.nets; n++) fan_at[n + 1] += fan_at[n];
    fans.resize(fan_at[g.nets]);
    std::vector<int32_t> next(fan_at.begin(), fan_at.end() - 1);
    for (int64_t k = 0; k < g.gates; k++)
      for (int64_t p = 0; p < inputs(k); p++) fans[next[net(k, p)]++] = {int32_t(k), int32_t(p)};
    wheel.resize(job.period > ranks ? job.period : ranks);
  }

  int64_t run() {
    value[1] = 1;
    settle();
    for (int64_t c = 0; c < job.cycles; c++) {
      if (c == job.warm) forget();
      timed = job.period && c >= job.warm;
      rise();
      for (int64_t k = 0; k < job.inputs; k++) {
        const int64_t row = job.stream_of[k] < 0 ? c : taken[job.stream_of[k]];
        if (job.given[row * job.inputs + k] != value[job.input_nets[k]]) toggle(job.input_nets[k]);
      }
      timed ? spend_period() : ripple();
      if (late) return c + 1;
      for (int64_t k = 0; k < job.streams; k++) taken[k] += value[job.ready_nets[k]];
      for (int64_t k = 0; k < job.outputs; k++) job.got[c * job.outputs + k] = value[job.output_nets[k]];
    }
    for (int64_t k = 0; k < g.gates; k++) flush(k);
    return 0;
  }

 private:
  struct Fan { int32_t gate, pin; };
  struct Event { int32_t net; uint32_t serial; };

  const Gates &g;
  Job &job;
  std::vector<uint8_t> value;                        // of nets
  std::vector<uint32_t> state;                       // of gates
  std::vector<int32_t> last;                         // the input that changed last
  std::vector<uint8_t> marked;                       // to be evaluated
  std::vector<int64_t> rises, falls;                 // edges of the clock counted so far
  std::vector<int64_t> pin_at, cause_at, time_at, delay_at;
  std::vector<uint8_t> pending;                      // of nets: will change
  std::vector<uint32_t> serial;                      // of a net's event, to cancel it
  std::vector<int64_t> cause;                        // of a pending change
  std::vector<int32_t> fan_at;
  std::vector<int64_t> taken;                        // rows of streams
  std::vector<Fan> fans;
  std::vector<int32_t> touched, turning;             // flip-flops
  std::vector<std::vector<Event>> wheel;             // by picosecond, or by rank of gates to evaluate
  int64_t sizes[3], edges[2] = {0, 0}, now = 0;      // edges of the clock: falling, rising
  bool high = false, late = false, timed = false;

  int64_t inputs(int64_t k) const { return g.in_at[k + 1] - g.in_at[k]; }
  int64_t outputs(int64_t k) const { return g.out_at[k + 1] - g.out_at[k]; }
  int32_t net(int64_t k, int64_t pin) const { return g.ins[g.in_at[k] + pin]; }
  int32_t clock(int64_t k) const { return g.clock[g.kind[k]]; }
  int bits(int64_t k) const { return g.bits[g.kind[k]]; }
  uint8_t table(int64_t k, int64_t row, uint32_t s) const {
    return g.tables[g.table_at[g.kind[k]] + (row << bits(k)) + s];
  }
  uint32_t seen(int64_t k) const { return state[k] | (clock(k) >= 0 && high ? 1u << clock(k) : 0); }

  // Count the cycles in the state that gate k is about to leave: those whose falling edge it saw.
  void flush(int64_t k) {
    int64_t *times = job.times + time_at[k];
    const int64_t up = edges[1] - rises[k], down = edges[0] - falls[k];
    const uint32_t s = state[k];
    rises[k] = edges[1], falls[k] = edges[0];
    times[s] += down;
    if (clock(k) < 0) return;
    const uint32_t one = s | 1u << clock(k);
    int64_t *pin = job.pins + pin_at[k] + (int64_t(clock(k)) << bits(k));
    times[one] += down;
    pin[one] += up, pin[s] += down;
  }

  // All counts begin at zero.
  void forget() {
    for (int64_t k = 0; k < g.gates; k++) flush(k);
    std::memset(job.toggles, 0, g.nets * sizeof(int64_t));
    std::memset(job.pins, 0, sizes[0] * sizeof(int64_t));
    std::memset(job.causes, 0, sizes[1] * sizeof(int64_t));
    std::memset(job.times, 0, sizes[2] * sizeof(int64_t));
  }

  // Values before the first cycle: ports and flip-flops hold zeros.
  void settle() {
    std::vector<std::vector<int32_t>> order;
    for (int64_t k = 0; k < g.gates; k++) {
      if (g.rank[k] >= int64_t(order.size())) order.resize(g.rank[k] + 1);
      order[g.rank[k]].push_back(k);
    }
    for (auto &gates : order)
      for (int32_t k : gates) {
        if (clock(k) < 0) state[k] = wires(k);
        for (int64_t o = 0; o < outputs(k); o++) value[g.outs[g.out_at[k] + o]] = table(k, o, state[k]);
      }
    for (int64_t k = 0; k < g.gates; k++)
      if (clock(k) >= 0) state[k] = wires(k), touch(k);
  }

  uint32_t wires(int64_t k) const {
    uint32_t s = 0;
    for (int64_t p = 0; p < inputs(k); p++)
      if (p != clock(k)) s |= uint32_t(value[net(k, p)]) << p;
    return s;
  }

  void touch(int32_t k) {
    if (!marked[k]) marked[k] = 1, touched.push_back(k);
  }

  // The clock rises: flip-flops whose inputs have changed take them.
  void rise() {
    high = true, edges[1]++, now = 0;
    turning.clear();
    for (int32_t k : touched) {
      marked[k] = 0;
      if (table(k, outputs(k), state[k]) != (state[k] >> (bits(k) - 1) & 1)) turning.push_back(k);
    }
    touched.clear();
    for (int32_t k : turning) {
      flush(k);
      state[k] ^= 1u << (bits(k) - 1);
      last[k] = clock(k);
    }
    for (int32_t k : turning) evaluate(k);
  }

  // A net changes.
  void toggle(int32_t n) {
    value[n] ^= 1;
    job.toggles[n]++;
    for (int32_t f = fan_at[n]; f < fan_at[n + 1]; f++) {
      const auto [k, pin] = fans[f];
      if (pin == clock(k)) continue;
      flush(k);
      state[k] ^= 1u << pin;
      last[k] = pin;
      job.pins[pin_at[k] + (int64_t(pin) << bits(k)) + seen(k)]++;
      if (clock(k) >= 0)
        touch(k);
      else if (timed)
        evaluate(k);
      else if (!marked[k])
        marked[k] = 1, wheel[g.rank[k]].push_back({k, 0});
    }
  }

  // Outputs that differ from what a gate's state asks for change, at once or after their delay.
  void evaluate(int32_t k) {
    for (int64_t o = 0; o < outputs(k); o++) {
      const int32_t n = g.outs[g.out_at[k] + o];
      const uint8_t wanted = table(k, o, state[k]);
      if (wanted == (value[n] ^ pending[n])) continue;
      if (pending[n]) {
        pending[n] = 0, serial[n]++;
        continue;
      }
      const int64_t arc = o * inputs(k) + last[k];
      const int64_t reason = cause_at[k] + (arc << bits(k)) + seen(k);
      if (!timed) {
        job.causes[reason]++;
        toggle(n);
        continue;
      }
      const int64_t at = now + g.delays[delay_at[k] + 2 * arc + wanted];
      if (at >= job.period) {
        late = true;
        return;
      }
      pending[n] = 1, cause[n] = reason;
      wheel[at].push_back({n, serial[n]});
    }
  }

  void ripple() {
    for (auto &gates : wheel) {
      for (size_t k = 0; k < gates.size(); k++) marked[gates[k].net] = 0, evaluate(gates[k].net);
      gates.clear();
    }
    high = false, edges[0]++;
  }

  void spend_period() {
    for (now = 0; now < job.period && !late; now++) {
      if (now == job.period / 2) high = false, edges[0]++;
      for (size_t k = 0; k < wheel[now].size(); k++) {
        const auto [n, number] = wheel[now][k];
        if (!pending[n] || number != serial[n]) continue;
        pending[n] = 0, serial[n]++;
        job.causes[cause[n]]++;
        toggle(n);
      }
      wheel[now].clear();
    }
  }
};

}  // namespace

// 0, or the number of the first cycle (from 1) that is not over at its end.
extern "C" int64_t hwgen_gates(const Gates *gates, Job *job) { return Simulation(*gates, *job).run(); }
