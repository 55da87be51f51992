# Sources to bitstream: quartus_sh -t build.tcl
package require ::quartus::project
package require ::quartus::flow
cd [file dirname [file normalize [info script]]]
project_new -overwrite @TOP@
set_global_assignment -name FAMILY "Cyclone V"
set_global_assignment -name DEVICE @PART@
set_global_assignment -name TOP_LEVEL_ENTITY @TOP@
set_global_assignment -name PROJECT_OUTPUT_DIRECTORY output
foreach file [list @VERILOG@] {
  set_global_assignment -name VERILOG_FILE $file
}
set_global_assignment -name SDC_FILE clock.sdc
source @CONSTRAINTS@
export_assignments
execute_flow -compile
file copy -force [file join output @BITSTREAM@] @BITSTREAM@
project_close
