// @FROM@ MHz to @TO@ MHz by a PLL of the Cyclone V (Intel, Altera PLL IP).
module hwgen_clock(input i, output o, output locked);
  altera_pll #(
    .fractional_vco_multiplier("false"), .reference_clock_frequency("@FROM@ MHz"),
    .operation_mode("direct"), .number_of_clocks(1), .output_clock_frequency0("@TO@ MHz"),
    .phase_shift0("0 ps"), .duty_cycle0(50), .pll_type("General"), .pll_subtype("General")
  ) pll (.refclk(i), .rst(1'b0), .outclk(o), .locked(locked), .fbclk(1'b0), .fboutclk());
endmodule
