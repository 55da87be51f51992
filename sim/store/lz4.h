// The two functions of lz4 that Verilator's waveform writer calls, without compression: an LZ4 block that holds
// literals only. So waveforms need no library beside the C++ compiler.
#pragma once

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char *source, char *target, int size, int) {
  char *out = target;
  int rest = size - 15;
  *out++ = static_cast<char>((rest < 0 ? size : 15) << 4);
  if (rest >= 0) {
    for (; rest >= 255; rest -= 255) *out++ = static_cast<char>(255);
    *out++ = static_cast<char>(rest);
  }
  for (int k = 0; k < size; k++) *out++ = source[k];
  return static_cast<int>(out - target);
}
