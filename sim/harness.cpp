// Drives the AXI4-Stream ports of a Verilated top from memory: no Python per cycle.
//
// ports.inc (generated) holds INPUTS and OUTPUTS, lists of PORT(prefix, bytes of tdata).

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "ports.inc"
#include "verilated.h"
#if defined(HWGEN_FST)
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif defined(HWGEN_SAIF)
#include "verilated_saif_c.h"
using Trace = VerilatedSaifC;
#endif
#if defined(HWGEN_FST) || defined(HWGEN_SAIF)
#define HWGEN_TRACE
#endif

namespace {

struct Port {
  void *data;
  uint8_t *valid, *ready, *last;
  int bytes;
};

// What one port has to move; mirrored by ctypes in hwgen/engines/fast.py.
struct Stream {
  uint8_t *beats;       // (samples * words, bytes)
  int64_t words;        // per sample
  int64_t moved;        // beats transferred
};

struct Job {
  int64_t samples, seed, watchdog;
  int64_t tail;         // cycles to go on after the last beat: none may follow
  const uint8_t *ends;  // for each sample, whether tlast comes with it
  Stream *inputs, *outputs;
  int64_t *first_in;  // cycle of each sample's first beat in
  int64_t *last_out;  // (outputs, samples): cycle of the last beat out
  int64_t cycles;
  int64_t fault_port, fault_beat;

  bool last(const Stream &s) const {
    return s.moved % s.words == s.words - 1 && ends[s.moved / s.words];
  }
};

enum Status : int { OK, STUCK, WRONG_LAST, EXTRA_BEAT, TLAST_ERROR };

// Bursts and gaps of pseudo-random length (xorshift64).
class Stall {
 public:
  explicit Stall(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull | 1) {}
  bool open() {
    if (left-- > 0) return now;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    now = state & 1;
    left = (state >> 8) & ((state & 2) ? 15 : 3);
    return now;
  }

 private:
  uint64_t state;
  int64_t left = 0;
  bool now = false;
};

constexpr int RESET_CYCLES = 4;

// A design that keeps its state from one job to the next.
class Simulation {
 public:
  explicit Simulation(const char *trace_path) {
    context->traceEverOn(trace_path != nullptr);
    top = std::make_unique<Vtop>(context.get());
#define PORT(prefix, count) \
  {&top->prefix##tdata, &top->prefix##tvalid, &top->prefix##tready, &top->prefix##tlast, count},
    inputs = {INPUTS};
    outputs = {OUTPUTS};
#undef PORT
#ifdef HWGEN_TRACE
    if (trace_path) {
      trace = std::make_unique<Trace>();
      top->trace(trace.get(), 99);
      trace->open(trace_path);
    }
#endif
    for (auto &p : inputs) *p.valid = 0;
    for (auto &p : outputs) *p.ready = 0;
    top->aresetn = 0;
    for (int k = 0; k < RESET_CYCLES; k++) half(0), half(1);
    top->aresetn = 1;
  }

  ~Simulation() {
#ifdef HWGEN_TRACE
    if (trace) trace->close();
#endif
    top->final();
  }

  int run(Job *job);

 private:
  std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
  std::unique_ptr<Vtop> top;
#ifdef HWGEN_TRACE
  std::unique_ptr<Trace> trace;
#endif
  std::vector<Port> inputs, outputs;
  uint64_t time = 0;

  void half(int level) {
    top->aclk = level;
    top->eval();
#ifdef HWGEN_TRACE
    if (trace) trace->dump(time);
#endif
    time += 5;
  }
};

int Simulation::run(Job *job) {
  std::vector<Stall> gaps;
  for (size_t k = 0; k < inputs.size() + outputs.size(); k++)
    gaps.emplace_back(uint64_t(job->seed) * 64 + k + 1);
  const bool stalls = job->seed >= 0;

  int status = OK;
  int64_t cycle = 0, moved_at = 0, done_at = -1;
  for (; status == OK; cycle++) {
    for (size_t k = 0; k < inputs.size(); k++) {
      Port &p = inputs[k];
      Stream &s = job->inputs[k];
      if (*p.valid) continue;  // not taken yet
      if (s.moved == s.words * job->samples || (stalls && !gaps[k].open())) continue;
      *p.valid = 1;
      *p.last = job->last(s);
      std::memcpy(p.data, s.beats + s.moved * p.bytes, p.bytes);
    }
    for (size_t k = 0; k < outputs.size(); k++)
      *outputs[k].ready = !stalls || gaps[inputs.size() + k].open();
    half(0);
    bool all_done = true;
    for (size_t k = 0; k < outputs.size(); k++) {
      Port &p = outputs[k];
      Stream &s = job->outputs[k];
      if (*p.valid && *p.ready) {
        job->fault_port = k;
        job->fault_beat = s.moved;
        if (s.moved == s.words * job->samples) {
          status = EXTRA_BEAT;
          break;
        }
        if (bool(*p.last) != job->last(s)) {
          status = WRONG_LAST;
          break;
        }
        std::memcpy(s.beats + s.moved * p.bytes, p.data, p.bytes);
        if (s.moved % s.words == s.words - 1)
          job->last_out[k * job->samples + s.moved / s.words] = cycle;
        s.moved++;
        moved_at = cycle;
      }
      all_done &= s.moved == s.words * job->samples;
    }
    uint64_t taken = 0;
    for (size_t k = 0; k < inputs.size(); k++) {
      Stream &s = job->inputs[k];
      if (*inputs[k].valid && *inputs[k].ready) {
        const int64_t sample = s.moved / s.words;
        if (s.moved % s.words == 0 && job->first_in[sample] < 0) job->first_in[sample] = cycle;
        s.moved++;
        moved_at = cycle;
        taken |= uint64_t(1) << k;
      }
    }
    if (top->tlast_error) status = TLAST_ERROR;
    half(1);
    for (size_t k = 0; k < inputs.size(); k++)
      if (taken >> k & 1) *inputs[k].valid = 0;
    if (all_done && done_at < 0) done_at = cycle;
    if (done_at >= 0 ? cycle >= done_at + job->tail : cycle - moved_at > job->watchdog) {
      if (done_at < 0) status = STUCK;
      break;
    }
  }
  job->cycles = (done_at >= 0 ? done_at : cycle) + 1;
  return status;
}

}  // namespace

extern "C" Simulation *hwgen_open(const char *trace_path) { return new Simulation(trace_path); }
extern "C" int hwgen_run(Simulation *simulation, Job *job) { return simulation->run(job); }
extern "C" void hwgen_close(Simulation *simulation) { delete simulation; }

// The same design with nothing around it but a counter of beats per input (for tlast): what
// `make bench` compares hwgen_run with.
extern "C" void hwgen_bare(int64_t cycles, const int64_t *words) {
  auto context = std::make_unique<VerilatedContext>();
  auto top = std::make_unique<Vtop>(context.get());
#define PORT(prefix, count) \
  {&top->prefix##tdata, &top->prefix##tvalid, &top->prefix##tready, &top->prefix##tlast, count},
  std::vector<Port> inputs = {INPUTS}, outputs = {OUTPUTS};
#undef PORT
  top->aresetn = 0;
  for (int k = 0; k < RESET_CYCLES; k++) {
    top->aclk = 0, top->eval();
    top->aclk = 1, top->eval();
  }
  top->aresetn = 1;
  for (auto &p : outputs) *p.ready = 1;
  for (auto &p : inputs) *p.valid = 1;
  std::vector<int64_t> beat(inputs.size(), 0);
  for (int64_t k = 0; k < cycles; k++) {
    for (size_t i = 0; i < inputs.size(); i++) *inputs[i].last = beat[i] == words[i] - 1;
    top->aclk = 0, top->eval();
    for (size_t i = 0; i < inputs.size(); i++)
      if (*inputs[i].ready) beat[i] = *inputs[i].last ? 0 : beat[i] + 1;
    top->aclk = 1, top->eval();
  }
}
