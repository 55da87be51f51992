# Sources to bitstream: vivado -mode batch -source build.tcl
cd [file dirname [file normalize [info script]]]
foreach file [list @VERILOG@] {
  read_verilog $file
}
read_xdc @CONSTRAINTS@
synth_design -top @TOP@ -part @PART@
opt_design
place_design
route_design
report_utilization -file utilization.txt
report_timing_summary -file timing.txt
if {[get_property SLACK [lindex [get_timing_paths -delay_type max] 0]] < 0} {
  error "the clock is not reached: see timing.txt, and deploy with a slower --clock"
}
write_bitstream -force @BITSTREAM@
