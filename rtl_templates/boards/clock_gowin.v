// @FROM@ MHz to @TO@ MHz by a PLL (Gowin UG286).
module hwgen_clock(input i, output o, output locked);
  rPLL #(
    .FCLKIN("@FROM@"), .DEVICE("@DEVICE@"), .IDIV_SEL(@DIVIDE@), .FBDIV_SEL(@MULTIPLY@),
    .ODIV_SEL(@OUT@), .CLKFB_SEL("internal"), .CLKOUT_BYPASS("false"), .CLKOUTP_BYPASS("false"),
    .CLKOUTD_BYPASS("false"), .DYN_IDIV_SEL("false"), .DYN_FBDIV_SEL("false"),
    .DYN_ODIV_SEL("false"), .DYN_DA_EN("false"), .DYN_SDIV_SEL(2), .DUTYDA_SEL("1000"),
    .PSDA_SEL("0000"), .CLKOUTD_SRC("CLKOUT"), .CLKOUTD3_SRC("CLKOUT"), .CLKOUT_FT_DIR(1'b1),
    .CLKOUTP_FT_DIR(1'b1), .CLKOUT_DLY_STEP(0), .CLKOUTP_DLY_STEP(0)
  ) pll (
    .CLKIN(i), .CLKOUT(o), .LOCK(locked), .CLKOUTP(), .CLKOUTD(), .CLKOUTD3(), .CLKFB(1'b0),
    .RESET(1'b0), .RESET_P(1'b0), .FBDSEL(6'b0), .IDSEL(6'b0), .ODSEL(6'b0), .PSDA(4'b0),
    .DUTYDA(4'b0), .FDLY(4'b0)
  );
endmodule
