// What Verilator's waveform writer uses of zlib, without compression: stored deflate blocks.
#pragma once
#include <cstdint>

typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef uLong uLongf;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

inline int compress2(Bytef *target, uLongf *target_size, const Bytef *source, uLong size, int) {
  Bytef *out = target;
  *out++ = 0x78, *out++ = 0x01;
  uint32_t a = 1, b = 0;
  uLong done = 0;
  do {
    const uLong part = size - done > 65535 ? 65535 : size - done;
    *out++ = done + part == size;
    *out++ = part & 255, *out++ = part >> 8, *out++ = ~part & 255, *out++ = (~part >> 8) & 255;
    for (uLong k = 0; k < part; k++) {
      a = (a + source[done]) % 65521;
      b = (b + a) % 65521;
      *out++ = source[done++];
    }
  } while (done < size);
  *out++ = b >> 8, *out++ = b & 255, *out++ = a >> 8, *out++ = a & 255;
  *target_size = out - target;
  return Z_OK;
}
