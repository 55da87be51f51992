// @FROM@ MHz to @TO@ MHz by an MMCM of the 7 series (AMD UG472).
module hwgen_clock(input i, output o, output locked);
  wire feedback, raw;
  MMCME2_BASE #(
    .CLKIN1_PERIOD(@PERIOD@), .DIVCLK_DIVIDE(@DIVIDE@), .CLKFBOUT_MULT_F(@MULTIPLY@.0),
    .CLKOUT0_DIVIDE_F(@OUT@.0)
  ) mmcm (
    .CLKIN1(i), .CLKFBIN(feedback), .CLKFBOUT(feedback), .CLKOUT0(raw), .LOCKED(locked),
    .RST(1'b0), .PWRDWN(1'b0), .CLKFBOUTB(), .CLKOUT0B(), .CLKOUT1(), .CLKOUT1B(), .CLKOUT2(),
    .CLKOUT2B(), .CLKOUT3(), .CLKOUT3B(), .CLKOUT4(), .CLKOUT5(), .CLKOUT6()
  );
  BUFG buffer (.I(raw), .O(o));
endmodule
