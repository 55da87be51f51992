# The design beside the processor, its streams by DMA: vivado -mode batch -source build.tcl
# Written for Vivado 2022.1 and later.
set here [file dirname [file normalize [info script]]]
source [file join $here package_ip.tcl]
create_project -force @TOP@ [file join $here vivado] -part @PART@
set_property ip_repo_paths [file join $here ip] [current_project]
update_ip_catalog
create_bd_design system
set processor [create_bd_cell -type ip -vlnv xilinx.com:ip:@PROCESSOR@ processor]
set_property -dict [list @SETTINGS@] $processor
foreach pins [list @EXTERNAL@] {  # of a Zynq-7000, whose memory and fixed pins are ports of the design
  make_bd_intf_pins_external -name $pins [get_bd_intf_pins processor/$pins]
}
set design [create_bd_cell -type ip -vlnv hwgen:nn:@TOP@:1.0 design]
set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]
connect_bd_net [get_bd_pins processor/@RESET@] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins processor/@CLOCK@] [get_bd_pins reset/slowest_sync_clk]
set clocked [list design/aclk]
set resets [list design/aresetn]
set slaves [list design/s_axi]
set masters [list]
# A DMA engine for each stream, and a converter between its 32 bits and the stream's.
foreach {name side bus bytes} [list @STREAMS@] {
  set dma [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma dma_$name]
  set out [expr {$side eq "in"}]
  set_property -dict [list CONFIG.c_include_sg 0 CONFIG.c_sg_length_width 26 CONFIG.c_include_mm2s $out CONFIG.c_include_s2mm [expr {!$out}] CONFIG.c_m_axis_mm2s_tdata_width 32 CONFIG.c_s_axis_s2mm_tdata_width 32] $dma
  set width [create_bd_cell -type ip -vlnv xilinx.com:ip:axis_dwidth_converter width_$name]
  if {$out} {
    set_property -dict [list CONFIG.S_TDATA_NUM_BYTES 4 CONFIG.M_TDATA_NUM_BYTES $bytes CONFIG.HAS_TLAST 1 CONFIG.HAS_TKEEP 1] $width
    connect_bd_intf_net [get_bd_intf_pins dma_$name/M_AXIS_MM2S] [get_bd_intf_pins width_$name/S_AXIS]
    connect_bd_intf_net [get_bd_intf_pins width_$name/M_AXIS] [get_bd_intf_pins design/$bus]
    lappend masters dma_$name/M_AXI_MM2S
    lappend clocked dma_$name/m_axi_mm2s_aclk
  } else {
    set_property -dict [list CONFIG.S_TDATA_NUM_BYTES $bytes CONFIG.M_TDATA_NUM_BYTES 4 CONFIG.HAS_TLAST 1 CONFIG.HAS_TKEEP 1] $width
    connect_bd_intf_net [get_bd_intf_pins design/$bus] [get_bd_intf_pins width_$name/S_AXIS]
    connect_bd_intf_net [get_bd_intf_pins width_$name/M_AXIS] [get_bd_intf_pins dma_$name/S_AXIS_S2MM]
    lappend masters dma_$name/M_AXI_S2MM
    lappend clocked dma_$name/m_axi_s2mm_aclk
  }
  lappend slaves dma_$name/S_AXI_LITE
  lappend clocked dma_$name/s_axi_lite_aclk width_$name/aclk
  lappend resets dma_$name/axi_resetn width_$name/aresetn
}
# The processor writes registers; the DMA engines read and write its memory.
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI [llength $slaves]] $control
connect_bd_intf_net [get_bd_intf_pins processor/@MASTER@] [get_bd_intf_pins control/S00_AXI]
set k 0
foreach slave $slaves {
  connect_bd_intf_net [get_bd_intf_pins control/[format "M%02d_AXI" $k]] [get_bd_intf_pins $slave]
  incr k
}
set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory]
set_property -dict [list CONFIG.NUM_SI [llength $masters] CONFIG.NUM_MI 1] $memory
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins processor/@SLAVE@]
set k 0
foreach master $masters {
  connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins memory/[format "S%02d_AXI" $k]]
  incr k
}
lappend clocked control/aclk memory/aclk @CLOCKS@
lappend resets control/aresetn memory/aresetn
foreach pin $clocked {
  connect_bd_net [get_bd_pins processor/@CLOCK@] [get_bd_pins $pin]
}
foreach pin $resets {
  connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}
if {@LEDS@} {
  create_bd_port -dir O -from [expr {@LEDS@ - 1}] -to 0 leds
  connect_bd_net [get_bd_pins design/leds] [get_bd_ports leds]
  add_files -fileset constrs_1 -norecurse [file join $here @CONSTRAINTS@]
}
assign_bd_address
validate_bd_design
save_bd_design
make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
# The driver wants both files under one name.
set runs [file join $here vivado @TOP@.runs impl_1]
file copy -force [file join $runs system_wrapper.bit] [file join $here @BITSTREAM@]
file copy -force [lindex [glob [file join $here vivado @TOP@.gen sources_1 bd system hw_handoff *.hwh]] 0] [file join $here @TOP@.hwh]
