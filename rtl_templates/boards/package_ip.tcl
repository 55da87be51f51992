# The design with its registers as an IP of Vivado, in ip/: vivado -mode batch -source package_ip.tcl
# AXI4-Stream and AXI4-Lite interfaces are inferred from the names of the ports.
set here [file dirname [file normalize [info script]]]
create_project -in_memory -part @PART@
foreach file [list @VERILOG@] {
  add_files -norecurse [file join $here $file]
}
set_property top @BLOCK@ [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [file join $here ip] -vendor hwgen -library nn -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name @BLOCK@ $core
set_property version 1.0 $core
set_property display_name {@NAME@} $core
set_property supported_families {zynq Production zynquplus Production artix7 Production kintex7 Production} $core
ipx::infer_bus_interfaces xilinx.com:interface:axis_rtl:1.0 $core
ipx::infer_bus_interfaces xilinx.com:interface:aximm_rtl:1.0 $core
foreach bus [list @BUSES@] {
  ipx::associate_bus_interfaces -busif $bus -clock aclk $core
}
ipx::associate_bus_interfaces -clock aclk -reset aresetn $core
foreach map [ipx::get_memory_maps -of_objects $core] {
  foreach block [ipx::get_address_blocks -of_objects $map] {
    set_property range 4096 $block
  }
}
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::save_core $core
close_project
